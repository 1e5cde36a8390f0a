"""Atomic files and kernel locks on a local or shared file system."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK_POLL = 0.05
"""Seconds between two attempts to take a lock."""

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV}
"""Error numbers of file systems that cannot link, lock, rename or sync folders, or map files."""


class NoLocksError(OSError):
    """A lock was asked of a file system that has none."""

    def __init__(self, number: int | None, path: Path) -> None:
        advice = "mount it with locks (Lustre: -o flock, NFS: a lock daemon), or choose a folder elsewhere"
        super().__init__(number, f"a file system without locks; {advice}", str(path))


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield an unused hidden name in the folder of `path`, with its suffix; remove what is there at the end."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a file or folder to, and rename it to `path` if nothing was raised.

    An existing file is replaced, an existing folder kept.
    """
    with temporary_beside(path) as temporary:
        yield temporary
        if not (temporary.is_dir() and path.is_dir()):
            temporary.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write; readers see the old content until it is closed, and after a crash."""
    with replacing(path) as temporary, synced_file(temporary) as file:
        yield file


@contextmanager
def synced_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write, and wait at the end until it is on the disk."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[IO[str]]:
    """Hold an exclusive lock on a file, made if absent; the kernel releases it when the process ends.

    `waiting` is called after each attempt that fails, and may raise to give up.

    Raises:
        NoLocksError: if the file system has no locks.
    """
    with path.open("a+") as file:
        while not try_lock(file.fileno(), path):
            waiting()
            time.sleep(LOCK_POLL)
        yield file


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock on a file; False without a file, or without locks."""
    try:
        with path.open() as file:
            return not try_lock(file.fileno(), path, fcntl.LOCK_SH)
    except (FileNotFoundError, NoLocksError):
        return False


def try_lock(descriptor: int, path: Path, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or folder until it is closed; return False if another process holds it.

    Raises:
        NoLocksError: if the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        raise NoLocksError(error.errno, path) from error
    return True


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system has a way to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
