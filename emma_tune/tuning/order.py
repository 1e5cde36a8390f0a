"""What a run is asked for, has at hand, and returns. Light: the command line imports it before anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emma_tune.storage import Place

if TYPE_CHECKING:
    from rich.console import Console

    from emma_tune.plan import Point
    from emma_tune.results.folder import RunLog, StudyFolder
    from emma_tune.storage.store import Store
    from emma_tune.study import Study
    from emma_tune.tuning.interruption import Interruption


SAFE = "finished tasks are saved, run the same command again to continue"


@dataclass(frozen=True)
class RunOrder:
    """A study to run, and where."""

    study: Study
    out: Place  # the study's folder; created if it does not exist
    store: Place  # where artifacts are, shared with other studies
    began: float  # when the command was given, by `time.monotonic()`
    address: str | None = None  # of a Ray cluster; None to start Ray on this machine
    until: str | None = None  # the last stage to run; None for all
    given: Sequence[Point] | None = None  # to run besides the ledger's, proposing none; None proposes as usual
    images: Mapping[str, str] = field(default_factory=dict)  # fingerprints that given points may need
    victim: str | None = None  # the fingerprint that a given victim must have; None for any
    embedded: bool = False  # whether the process goes on after the run: a notebook's, or a script's
    trusted: bool = False  # whether plug-ins that this user has never run may be executed


@dataclass(frozen=True)
class Session:
    """A run that holds its study."""

    order: RunOrder
    folder: StudyFolder
    store: Store
    interruption: Interruption
    console: Console
    log: RunLog
    say: Callable[[str], None]  # shows the user a line, and logs it


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    interrupted: bool  # by SIGINT or SIGTERM, with unfinished state saved
    failures: Mapping[int, str]  # reasons by the number of the failed point
    signal: int | None = None  # that interrupted it; None also if another driver has taken the study
