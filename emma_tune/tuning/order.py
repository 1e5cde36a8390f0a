"""What a run is asked for, has at hand, and returns. Light: the command line imports it before anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emma_tune.storage import Place

if TYPE_CHECKING:
    from rich.console import Console

    from emma_tune.plan import Point
    from emma_tune.results.folder import RunLog, StudyFolder
    from emma_tune.storage.store import Store
    from emma_tune.study import Study
    from emma_tune.tuning.interruption import Interruption


@dataclass(frozen=True)
class RunOrder:
    """A study to run, and where.

    Attributes:
        study: the study, checked.
        out: the study's folder; created if it does not exist.
        store: where artifacts are, shared with other studies.
        address: of a Ray cluster; None to start Ray on this machine.
        until: the last stage to run; None for all.
        given: points to run besides those of the ledger, proposing none; None to propose as the study says.
        began: when the command was given, by `time.monotonic()`.
    """

    study: Study
    out: Place
    store: Place
    began: float
    address: str | None = None
    until: str | None = None
    given: Sequence[Point] | None = None


@dataclass(frozen=True)
class Session:
    """A run that holds its study.

    Attributes:
        order: what to run.
        folder: of the study.
        store: of artifacts.
        interruption: tells when to stop.
        console: where to show progress.
        log: takes every message.
        say: shows the user a line, and logs it.
    """

    order: RunOrder
    folder: StudyFolder
    store: Store
    interruption: Interruption
    console: Console
    log: RunLog
    say: Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        interrupted: by SIGINT or SIGTERM, with unfinished state saved.
        failures: reasons by the number of the failed point.
    """

    interrupted: bool
    failures: Mapping[int, str]
