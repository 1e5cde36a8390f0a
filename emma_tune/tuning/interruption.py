"""SIGINT and SIGTERM, and losing the study to another driver: what ends a run in an orderly way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emma_tune.storage import Claim

if TYPE_CHECKING:
    from emma_tune.plan.materials import DecodeCallback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OTHERS = (signal.SIGUSR1,)  # for which Tune installs a handler

SAVING = "saving…"
LINE = f"{SAVING}\n"
IN_PLACE = f"\r\x1b[2K{SAVING}"
"""Replaces the last line of a live table, whose height must not change."""


class InterruptedRunError(Exception):
    """A signal came while images were decoded."""


class Interruption:
    """Handles SIGINT and SIGTERM; a second signal meets the handlers `second`.

    A signal is acknowledged at once on the console, if it is a file with a descriptor.
    """

    def __init__(self, console: Console, second: Mapping[signal.Signals, Any]) -> None:
        self.claim: Claim | None = None  # on the study that is driven
        self.notice = LINE  # the acknowledgment
        self.signal: int | None = None  # the one that came
        self._console = console
        self._second = second

    @property
    def requested(self) -> bool:
        """Whether to stop: after a signal, or because another driver has taken the study."""
        return self.signal is not None or (self.claim is not None and self.claim.lost())

    def listen(self) -> None:
        """Install the signal handlers until a signal comes; only the main thread can, which they interrupt."""
        if self.signal is None and threading.current_thread() is threading.main_thread():
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
        self.signal = number
        # past Python's buffers, in the middle of which the signal may have come
        with suppress(OSError, ValueError, AttributeError):
            os.write(self._console.file.fileno(), self.notice.encode(self._console.encoding, "replace"))
        _install(self._second)


@contextmanager
def interruptible(console: Console, *, embedded: bool = False) -> Iterator[Interruption]:
    """Handle SIGINT and SIGTERM within the block.

    Args:
        console: where a signal is acknowledged.
        embedded: whether a second signal meets the handlers that there were before the block, as in a notebook,
            where SIGINT then raises KeyboardInterrupt; else it ends the process at once.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS + OTHERS}
    second = {number: before[number] if embedded else signal.SIG_DFL for number in SIGNALS}
    interruption = Interruption(console, second)
    interruption.listen()
    try:
        yield interruption
    finally:
        if threading.current_thread() is threading.main_thread():
            _install(before)


def _install(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # one that is not Python's cannot be installed again
            signal.signal(number, handler)
