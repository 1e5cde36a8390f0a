"""Run a study in this process, and leave the process as it was."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emma_tune.api.view import StudyView
from emma_tune.plan import named
from emma_tune.results.folder import StudyFolder
from emma_tune.storage import as_place, is_local
from emma_tune.study import Study
from emma_tune.study.file import StudyError, load_study, study_of

if TYPE_CHECKING:
    from emma_tune.tuning.order import RunOrder, RunResult

_RUNNING = threading.Lock()


def run(
    study: Mapping[str, Any] | Study | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    address: str | None = None,
    until: str | None = None,
    progress: bool = True,
    trust: bool = False,
) -> StudyView:
    """Run a study, or continue it: finished tasks are not run again.

    The stop button of a notebook, or Ctrl-C, ends the run as soon as the current epochs have ended; everything is
    saved, and the same call continues. A process that is connected to Ray already keeps its Ray, and the run uses
    it; else Ray is started for the run and ended after it. Signal handlers, environment variables and loggers are
    as before when the call returns.

    If the head of the cluster at `address` is lost for a minute, this process ends with exit code 1, for Ray would
    end it: in a notebook, variables are lost then. What the run has finished is saved.

    Args:
        study: a study as a dict, in the words of a study file (paths in it are relative to the working directory,
            and `extends` works); or a `Study`; or a study file; or a study's folder, to continue it as it was.
        out: the study's folder, a path or `s3://bucket/prefix`; `runs/NAME` if None.
        address: of a Ray cluster, on one of its machines: `auto` or `HOST:PORT`.
        until: the last stage to run: victim, surrogate, matrix, responses or attacker; all if None.
        progress: whether to show progress.
        trust: whether plug-ins in a study's folder are run although this user has never run them.

    Returns:
        The study; points that failed are in its `failures`.

    Raises:
        StudyError: for what is wrong with study, folder, cluster or storage, a line for each thing.
        KeyboardInterrupt: if the run was interrupted; what it has finished is there for `load_study`.
    """
    began = time.monotonic()
    with _alone(), _environment_restored():
        from emma_tune.tuning.notebook import widgets_unmentioned

        with widgets_unmentioned():
            from emma_tune.tuning.launch import run_study
            from emma_tune.tuning.ordering import announcement, check_last

        console = _console(progress)

        def say(line: str) -> None:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

        check_last(until, "until")
        how = {"began": began, "address": address, "until": until, "trust": trust, "embedded": True}
        order = _order(study, out, say, how)
        for line in announcement(order):
            say(line)
        with widgets_unmentioned():
            result = run_study(order, console)
    if result.interrupted:
        _interrupt(order, result)
    return _ended(order, result, say)


def _console(progress: bool) -> Console:
    """Return what progress is shown on."""
    from emma_tune.tuning.notebook import in_notebook

    if not progress:
        return Console(file=io.StringIO(), quiet=True)
    # a notebook's output claims to be a terminal; rich's own form of it wants ipywidgets
    return Console(force_jupyter=False, force_terminal=False if in_notebook() else None)


@contextmanager
def _alone() -> Iterator[None]:
    """Refuse a second run in this process: its Ray, signals and environment variables belong to all threads."""
    if not _RUNNING.acquire(blocking=False):
        raise StudyError("expected one run at a time in a process, found another one under way")
    try:
        yield
    finally:
        _RUNNING.release()


def _order(
    study: Mapping[str, Any] | Study | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    say: Callable[[str], None],
    how: Mapping[str, Any],
) -> RunOrder:
    """Order the run of what `run` takes for a study."""
    from emma_tune.tuning.ordering import new_order, resuming_order

    folder = _place(out, "out")
    if isinstance(study, Study):
        return new_order(study, folder, **how)
    if isinstance(study, Mapping):
        return new_order(study_of(study), folder, **how)
    if not isinstance(study, str | os.PathLike):
        raise StudyError(f"study: expected a dict, a Study or a path, found {type(study).__name__}")
    place = _place(study, "study")
    if is_local(place) and not (place.is_dir() and StudyFolder(place).begun):
        return new_order(load_study(place), folder, file=place, **how)
    if folder is not None:
        raise StudyError(f"out: expected none, since {place} is a study's folder already, found {folder}")
    started = StudyFolder(place).read()
    for remark in started.remarks:
        say(remark)
    return resuming_order(started, place, (), **how)


def _place(given: str | os.PathLike[str] | None, where: str) -> Any:
    """Parse a path or URL; None stays None."""
    try:
        return None if given is None else as_place(given)
    except ValueError as error:
        raise StudyError(f"{where}: {error}") from error


def _interrupt(order: RunOrder, result: RunResult) -> None:
    """End an interrupted call as the signal would have ended it without a run."""
    if result.signal is None:
        raise StudyError(f"{order.out}: another process has taken this study; finished tasks are saved")
    if result.signal == signal.SIGTERM:
        signal.raise_signal(signal.SIGTERM)  # for the handler that was there before
    seen = ""
    with suppress(StudyError):  # the storage may be why it was interrupted
        if StudyFolder(order.out).begun:
            seen = f'; emma_tune.load_study("{order.out}") shows what is finished'
    raise KeyboardInterrupt(f"everything is saved, and the same call continues{seen}")


def _ended(order: RunOrder, result: RunResult, say: Callable[[str], None]) -> StudyView:
    """Write the files of a run that has ended, name what failed, and open the study."""
    view = StudyView(order.out, result.failures)
    if not order.until and order.given is None:
        from emma_tune.outputs.run_files import write_run_files

        for problem in write_run_files(view.data):
            say(problem)
    for point, reason in result.failures.items():
        say(f"{named(point)} failed: {reason}")
    return view


@contextmanager
def _environment_restored() -> Iterator[None]:
    """Restore environment variables, which a run sets for Ray and for the processes that it starts.

    Importing `tuning` sets those that Ray reads when it is imported: so it is imported within the block.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
