"""Retries of storage calls that fail for the moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

LASTING = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
"""Errors that a retry does not change."""

TRANSIENT = {
    number
    for name in (
        "ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE", "EBUSY", "EAGAIN", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH",
        "ENETDOWN", "ENETUNREACH", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "EREMOTEIO",
    )
    if (number := getattr(errno, name, None)) is not None
}  # fmt: skip
"""Error numbers that a retry may change: full disks are cleared, servers come back, file systems are mounted."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts; each pause is twice as long as the last."""

REPORTED_AFTER = 2.0
"""Seconds of waiting after which it is reported."""


@dataclass(frozen=True)
class Patience:
    """A retry policy: for a full disk, a server that does not answer, a mount that is gone.

    Attributes:
        seconds: to retry for; 0 for a single attempt.
        say: reports the wait, once for each.
        enough: returns whether to give up early.
    """

    seconds: float = 0.0
    say: Callable[[str], None] = field(default=lambda line: None, compare=False)
    enough: Callable[[], bool] = field(default=lambda: False, compare=False)

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Call until it succeeds; raise the OSError when patience ends, and at once if a retry does not help."""
        began, pause, reported = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                return call()
            except OSError as error:
                waited = time.monotonic() - began
                if not passes(error) or waited >= self.seconds or self.enough():
                    raise
                if not reported and waited >= REPORTED_AFTER:
                    self.say(f"waiting for the storage, {self.seconds:g} s at most: {error}")
                    reported = True
            time.sleep(min(pause, LONGEST_PAUSE, max(0.0, self.seconds - waited)))
            pause *= 2


IMPATIENT = Patience()
"""For read-only commands: fail at once, do not retry."""


def passes(error: OSError) -> bool:
    """Return whether a retry of the call may succeed."""
    if isinstance(error, LASTING):
        return False
    return isinstance(error, TimeoutError | ConnectionError) or error.errno in TRANSIENT
