"""SIGINT and SIGTERM, and whatever else ends a run in an orderly way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from emma_tune.materials import Report
from emma_tune.storage import Claim


class InterruptedRunError(Exception):
    """A signal came while images were decoded."""


class Interruption:
    """Hears SIGINT and SIGTERM; a second signal ends the process at once."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self._signaled = False

    @property
    def requested(self) -> bool:
        """Whether to stop: after a signal, or because another driver has taken the study."""
        return self._signaled or (self.claim is not None and self.claim.lost())

    def listen(self) -> None:
        """Puts the handlers in place."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def watching(self, report: Report) -> Report:
        """A report of progress that raises after a signal."""

        def watched(name: str, done: int, total: int) -> None:
            if self.requested:
                raise InterruptedRunError
            self.listen()  # Ray, which starts meanwhile, puts a handler of its own in place
            report(name, done, total)

        return watched

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._signaled = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Hears SIGINT and SIGTERM while it lasts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interruption = Interruption()
    interruption.listen()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
