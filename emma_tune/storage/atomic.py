"""Atomic files and kernel locks on a local or shared file system."""

from __future__ import annotations

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
    """
    with path.open("a+") as file:
        while not try_lock(file.fileno()):
            waiting()
            time.sleep(LOCK_POLL)
        yield file


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock on a file; False if there is no file."""
    try:
        with path.open() as file:
            return not try_lock(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or folder until it is closed; return False if another process holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
