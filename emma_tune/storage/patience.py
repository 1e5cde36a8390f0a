"""How long a call of a storage that fails for the moment is tried again."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

LASTING = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
"""What trying again does not change."""

PASSING = {
    number
    for name in (
        "ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE", "EBUSY", "EAGAIN", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH",
        "ENETDOWN", "ENETUNREACH", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "EREMOTEIO",
    )
    if (number := getattr(errno, name, None)) is not None
}  # fmt: skip
"""Full disks are cleared, servers come back, mounts are mounted again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries: each pause is twice the last."""

SAID_AFTER = 2.0
"""Seconds of waiting after which it is said."""


@dataclass(frozen=True)
class Patience:
    """How a storage waits for what may come back: room on a disk, a server that does not answer, a mount.

    Attributes:
        seconds: to try for; 0 gives up at once.
        say: tells somebody what is waited for, once for each wait.
        enough: whether not to wait any longer, though there is time.
    """

    seconds: float = 0.0
    say: Callable[[str], None] = field(default=lambda line: None, compare=False)
    enough: Callable[[], bool] = field(default=lambda: False, compare=False)

    def __call__(self, call: Callable[[], Result]) -> Result:
        """What a call gives, as soon as it does.

        Raises:
            OSError: the last failure, when patience has an end; at once where waiting does not help.
        """
        began, pause, said = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                return call()
            except OSError as error:
                waited = time.monotonic() - began
                if not passes(error) or waited >= self.seconds or self.enough():
                    raise
                if not said and waited >= SAID_AFTER:
                    self.say(f"waiting for the storage, {self.seconds:g} s at most: {error}")
                    said = True
            time.sleep(min(pause, LONGEST_PAUSE, max(0.0, self.seconds - waited)))
            pause *= 2


IMPATIENT = Patience()
"""Of whoever only looks: what cannot be read now is said now."""


def passes(error: OSError) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, LASTING):
        return False
    return isinstance(error, TimeoutError | ConnectionError) or error.errno in PASSING
