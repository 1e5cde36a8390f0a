"""SIGINT and SIGTERM, and whatever else ends a run in an orderly way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console

from emma_tune.plan.materials import DecodeCallback
from emma_tune.storage import Claim

SAVING = "saving…"
LINE = f"{SAVING}\n"
IN_PLACE = f"\r\x1b[2K{SAVING}"
"""Over the last line of a live table, whose height must stay as it is."""


class InterruptedRunError(Exception):
    """A signal came while images were decoded."""


class Interruption:
    """Hears SIGINT and SIGTERM; a second signal ends the process at once.

    Args:
        console: where to say at once that the signal was heard, if it is a file that the system knows.

    Attributes:
        claim: on the study that is driven.
        notice: the message after a signal.
    """

    def __init__(self, console: Console) -> None:
        self.claim: Claim | None = None
        self.notice = LINE
        self._console = console
        self._signaled = False

    @property
    def requested(self) -> bool:
        """Whether to stop: after a signal, or because another driver has taken the study."""
        return self._signaled or (self.claim is not None and self.claim.lost())

    def listen(self) -> None:
        """Puts the handlers in place."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def watching(self, report: DecodeCallback) -> DecodeCallback:
        """A report of progress that raises after a signal."""

        def watched(name: str, done: int, total: int) -> None:
            if self.requested:
                raise InterruptedRunError
            self.listen()  # Ray, which starts meanwhile, puts a handler of its own in place
            report(name, done, total)

        return watched

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._signaled = True
        # past Python's buffers, in the middle of which the signal may have come
        with suppress(OSError, ValueError, AttributeError):
            os.write(self._console.file.fileno(), self.notice.encode(self._console.encoding, "replace"))
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def interruptible(console: Console) -> Iterator[Interruption]:
    """Hears SIGINT and SIGTERM while it lasts; `console` as `Interruption` takes it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interruption = Interruption(console)
    interruption.listen()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
