"""A study driven on the cluster for a user outside of it: `--address ray://HOST:PORT`.

Tune in Ray's client mode would pickle the searcher and lose its hold on signals. Here the whole driver runs on the
head node instead, as a process of its own: an actor starts it, hands over the study as JSON, and passes on what it
prints. The process hears that the actor is gone by the end of its input, and then ends as after SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError
from rich.console import Console

import emma_tune
from emma_tune.plan import Point
from emma_tune.storage import Place, is_local
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.connection import start_or_join
from emma_tune.tuning.interruption import interruptible
from emma_tune.tuning.launch import Ending, run_study
from emma_tune.tuning.remote.driver import seen_of

CLIENT = "ray://"
"""How the addresses begin that this is for."""

ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""The head node: the others may be taken away at any time."""

BETWEEN = ("/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- & wait $!', "emma-tune")
"""A shell between actor and driver: Ray kills the children of a worker that goes, but not theirs."""

PATIENCE = 0.5
"""Seconds until the actor answers that there is nothing new."""


class LostError(Exception):
    """The cluster, the connection to it, or the driver there is gone."""


def runner(address: str | None) -> Callable[..., Ending]:
    """What runs a study at an address: this process, or one on the cluster for a client outside of it."""
    if address is not None and address.startswith(CLIENT):
        return partial(run_study_on_cluster, address=address)
    return partial(run_study, address=address)


def run_study_on_cluster(
    study: Study,
    out: Place,
    store: Place,
    *,
    address: str,
    console: Console,
    until: str | None = None,
    given: Sequence[Point] | None = None,
    began: float | None = None,
) -> Ending:
    """Runs a study as `run_study` does, with its driver on the head node of a cluster.

    SIGINT and SIGTERM interrupt that driver, which saves unfinished state; so does the loss of this process.

    Args:
        study: checked.
        out: the study's folder, at the same path here and on the cluster.
        store: of artifacts, as the cluster sees it.
        address: `ray://HOST:PORT`, of Ray's client server.
        console: where to show what the driver prints.
        until: the last stage to run; all if None.
        given: points to run beside those of the ledger; None to propose as the study says.
        began: when the command was given, by `time.monotonic()`; now if None.

    Raises:
        StudyError: whatever `run_study` finds wrong; or the cluster cannot be reached, has another emma_tune, or
            does not see `out`.
        LostError: if the cluster or the driver is gone; what was finished is safe.
    """
    began = time.monotonic() if began is None else began
    start_or_join(address)
    try:
        _check_versions(ray.get(ray.remote(**ON_HEAD)(_asking_for_versions()).remote()))
        with _made(out):
            order = {
                "study": study.model_dump(mode="json", by_alias=True),
                "out": str(out.absolute() if is_local(out) else out),
                "store": str(store),
                "until": until,
                "given": _plain(given),
                "seen": seen_of(out),
                "age": time.monotonic() - began,
            }
            with interruptible(console) as interruption:
                driver = ray.remote(**ON_HEAD)(_Driver).remote(json.dumps(order))
                result = _follow(driver, lambda: interruption.requested, console)
    except (ConnectionError, RayError) as error:
        raise LostError(f"{address}: the cluster or the study's driver there is gone: {_line(error)}") from error
    finally:
        ray.shutdown()
    return _ending(result)


def _follow(driver: Any, interrupted: Callable[[], bool], console: Console) -> dict[str, Any]:
    """Shows what the driver prints until it ends; gives its result."""
    told = False
    while True:
        if interrupted() and not told:
            told = True
            ray.get(driver.interrupt.remote())
        lines, ended, result = ray.get(driver.news.remote())
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if ended is not None and result is None:
            raise LostError(f"the study's driver on the cluster ended with exit code {ended} and no result")
        if result is not None:
            content: dict[str, Any] = json.loads(result)
            return content


def _ending(result: Mapping[str, Any]) -> Ending:
    if "wrong" in result:
        raise StudyError(result["wrong"])
    return Ending(result["interrupted"], {int(point): reason for point, reason in result["failures"].items()})


def _plain(points: Sequence[Point] | None) -> list[tuple[int, str, Mapping[str, Any]]] | None:
    """Points for JSON."""
    return None if points is None else [(point.number, point.defense, point.params) for point in points]


@contextlib.contextmanager
def _made(out: Place) -> Iterator[None]:
    """Makes the study's folder, so that the cluster can be asked whether it sees it; an object store has none."""
    if not is_local(out):
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{out}: expected a folder that can be made, found {error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()  # only if it is empty: nothing has been run


def _asking_for_versions() -> Callable[[], dict[str, str | None]]:
    """A function that is sent by value: on the cluster nothing of ours may be there to import."""

    def versions() -> dict[str, str | None]:
        import importlib
        import platform

        try:
            found = importlib.import_module("emma_tune").__version__
        except ImportError:
            found = None
        return {"emma_tune": found, "python": platform.python_version()}

    return versions


def _check_versions(there: Mapping[str, str | None]) -> None:
    here = {"emma_tune": emma_tune.__version__, "python": platform.python_version()}
    if there["emma_tune"] != here["emma_tune"]:
        raise StudyError(
            f"expected emma_tune {here['emma_tune']} on the cluster, as here, found "
            f"{there['emma_tune'] or 'none'} (its Python is {there['python']})"
        )


def _line(error: Exception) -> str:
    """The first line of what an exception says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- on the head node -------------------------------------------------------------------------------------


class _Driver:
    """An actor that holds the driver's process.

    Args:
        order: JSON, what to run.
    """

    def __init__(self, order: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="emma-tune-")
        self._result = Path(self._folder.name) / "result.json"
        address = ray.get_runtime_context().gcs_address
        self._process = subprocess.Popen(
            [*BETWEEN, sys.executable, "-m", "emma_tune.tuning.remote.driver", address, str(self._result)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def news(self) -> tuple[list[str], int | None, str | None]:
        """Lines printed since the last call; exit code and result once it has ended."""
        lines: list[str] = []
        try:
            line = self._lines.get(timeout=PATIENCE)
            while line is not None:
                lines.append(line)
                line = self._lines.get_nowait()
        except Empty:
            return lines, None, None
        ended = self._process.wait()
        return lines, ended, self._result.read_text() if self._result.exists() else None

    def interrupt(self) -> None:
        """Ends the driver in an orderly way: it hears the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
