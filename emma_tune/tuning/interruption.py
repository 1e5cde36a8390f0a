"""SIGINT and SIGTERM, and losing the study to another driver: what ends a run in an orderly way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from emma_tune.storage import Claim

if TYPE_CHECKING:
    from emma_tune.plan.materials import DecodeCallback

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SAVING = "saving…"
LINE = f"{SAVING}\n"
IN_PLACE = f"\r\x1b[2K{SAVING}"
"""Replaces the last line of a live table, whose height must not change."""


class InterruptedRunError(Exception):
    """A signal came while images were decoded."""


class Interruption:
    """Handles SIGINT and SIGTERM; a second signal ends the process at once.

    A signal is acknowledged at once on the console, if it is a file with a descriptor.
    """

    def __init__(self, console: Console) -> None:
        self.claim: Claim | None = None  # on the study that is driven
        self.notice = LINE  # the acknowledgment
        self._console = console
        self._signaled = False

    @property
    def requested(self) -> bool:
        """Whether to stop: after a signal, or because another driver has taken the study."""
        return self._signaled or (self.claim is not None and self.claim.lost())

    def listen(self) -> None:
        """Install the signal handlers."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def watching(self, report: DecodeCallback) -> DecodeCallback:
        """Wrap a progress report so that it raises `InterruptedRunError` after a signal."""

        def watched(name: str, done: int, total: int) -> None:
            if self.requested:
                raise InterruptedRunError
            self.listen()  # Ray, which is starting, installs a handler of its own
            report(name, done, total)

        return watched

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signaled = True
        # past Python's buffers, in the middle of which the signal may have come
        with suppress(OSError, ValueError, AttributeError):
            os.write(self._console.file.fileno(), self.notice.encode(self._console.encoding, "replace"))
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def interruptible(console: Console) -> Iterator[Interruption]:
    """Handle SIGINT and SIGTERM within the block."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption(console)
    interruption.listen()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
