"""Commands with all their processes: how much memory they take together, and whether Ray is among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import psutil

INTERVAL = 0.5
"""Seconds between samples of memory."""

POLL = 0.02
"""Seconds between looks at whether a command is over."""

TIMEOUT = 600.0
"""Seconds that a command may take."""

GRACE = 15.0
"""Seconds that a command has to end in an orderly way when its measurement is given up."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    began: float  # by `time.time()`
    seconds: float
    output: str
    peak: int  # bytes of all its processes together, at most; shared pages are divided among those who share them
    has_children: bool  # whether it started another process


def emma_tune(*arguments: object, until: Callable[[], bool] | None = None) -> Ended:
    """Run the command line to its end, or interrupt it as Ctrl-C does once `until` says so."""
    return watched([sys.executable, "-m", "emma_tune", *map(str, arguments)], until)


def watched(command: Sequence[str], until: Callable[[], bool] | None = None) -> Ended:
    """Run a command, and watch its processes."""
    began, peak, has_children, sampled = time.time(), 0, False, 0.0
    with (
        tempfile.TemporaryFile("w+") as output,  # a pipe would fill, and the command wait
        tempfile.TemporaryFile("w+") as errors,
        _running(command, output, errors) as process,
    ):
        root = psutil.Process(process.pid)
        while process.poll() is None:
            assert time.time() - began < TIMEOUT, f"expected an end within {TIMEOUT:g} s: {command}"
            if until and until():
                process.send_signal(signal.SIGINT)
                until = None
            if time.time() - sampled >= INTERVAL:
                sampled = time.time()
                with suppress(psutil.Error):
                    family = [root, *root.children(recursive=True)]
                    peak = max(peak, sum(_share_of_memory(member.pid) for member in family))
                    has_children = has_children or len(family) > 1
            time.sleep(POLL)
        seconds = time.time() - began
        output.seek(0)
        errors.seek(0)
        assert process.returncode in (0, 130), errors.read()
        return Ended(began, seconds, output.read(), peak, has_children)


@contextmanager
def _running(command: Sequence[str], output: IO[str], errors: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a group of its own, which does not outlive the block."""
    # in the background of a script SIGINT is ignored, by the commands that are started there, too
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True, preexec_fn=hears)
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
            if process.poll() is None:
                os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)


def _share_of_memory(process: int) -> int:
    """Proportional set size in bytes; 0 of a process that is gone, and where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
