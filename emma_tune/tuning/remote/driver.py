"""The process on the head node that drives a study for a client outside of the cluster.

Started by `emma_tune.tuning.remote`. Its input is one line of JSON, and then nothing; when the input ends, this
process ends as after SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from emma_tune.plan import Point
from emma_tune.results.folder import StudyFolder
from emma_tune.storage import Place, as_place, is_local
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.launch import run_study


def seen_of(out: Place) -> dict[str, Any]:
    """What this machine sees of a study's folder, to compare with another's view.

    Args:
        out: the folder.
    """
    folder = StudyFolder(out)
    study = folder.read().study.model_dump(mode="json", by_alias=True) if folder.begun else None
    return {"folder": not is_local(out) or out.is_dir(), "study": study}


class _Told:
    """Standard output for as long as somebody reads it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or not."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Passes it on, or not."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()


def _ends_with_input() -> None:
    """Who started this process wants its end, or is gone, or the client behind it is."""
    sys.stdin.read()
    while not callable(signal.getsignal(signal.SIGTERM)):
        time.sleep(0.05)  # until the run listens: before, a signal would end it without a word
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(address: str, result: Path) -> None:
    """Runs what is ordered by standard input; prints progress, leaves the result in a file."""
    order = json.loads(sys.stdin.readline())
    out = as_place(order["out"])
    given = order["given"]
    try:
        if (there := seen_of(out)) != order["seen"]:
            raise StudyError(_unseen(out, order["seen"], there))
        threading.Thread(target=_ends_with_input, daemon=True).start()
        ending = run_study(
            Study.model_validate(order["study"]),
            out,
            as_place(order["store"]),
            address=address,
            console=Console(file=_Told(sys.stdout), width=200),  # type: ignore[arg-type]
            until=order["until"],
            given=None if given is None else [Point(*point) for point in given],
            began=time.monotonic() - order["age"],
        )
        content = {"interrupted": ending.interrupted, "failures": dict(ending.failures)}
    except StudyError as error:
        content = {"wrong": str(error)}
    beside = result.with_suffix(".part")
    beside.write_text(json.dumps(content))
    beside.replace(result)


def _unseen(out: Place, here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    def told(seen: Mapping[str, Any]) -> str:
        if seen["study"]:
            return f"the study {seen['study']['name']!r} as it was last started"
        return "a folder without a study" if seen["folder"] else "no such folder"

    other = "another start of it" if told(here) == told(there) else told(there)
    expected = f"{out}: expected a folder that the cluster sees as this machine does"
    return f"{expected}, found {told(here)} here, {other} there"


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]))
