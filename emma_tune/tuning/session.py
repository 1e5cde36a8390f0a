"""What every part of a run has at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from emma_tune.results.folder import RunLog, StudyFolder
from emma_tune.storage.store import Store
from emma_tune.tuning.interruption import Interruption
from emma_tune.tuning.order import RunOrder


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
