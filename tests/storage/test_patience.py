"""Which failures of a storage are retried, and for how long."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from emma_tune.storage import Patience, passes

TRANSIENT = (
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
    TimeoutError("no answer"),  # of a client library, without a number
    ConnectionError("closed"),
)
LASTING = (
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    PermissionError(errno.EACCES, "Permission denied"),
    NotADirectoryError(errno.ENOTDIR, "Not a directory"),
    OSError("something else"),
)


def failing(errors: list[OSError]) -> Callable[[], str]:
    """A call that raises these errors, one after the other, and then succeeds."""

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    return call


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_a_transient_error_is_retried(error):
    assert passes(error)
    assert Patience(30)(failing([error, error])) == "done"


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_a_lasting_error_is_raised_at_once(error):
    errors = [error]
    with pytest.raises(type(error)):
        Patience(30)(failing(errors))
    assert not errors
    assert not passes(error)


def test_without_patience_nothing_is_retried():
    with pytest.raises(TimeoutError):
        Patience(0)(failing([TimeoutError("no answer")]))
