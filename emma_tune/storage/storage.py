"""What every kind of storage promises."""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from errno import EIO
from pathlib import Path
from typing import Protocol

from emma_tune.storage.patience import Patience, Result
from emma_tune.storage.places import Place

IDENTITY = "identity"
"""A file with the name of the storage itself: if another one is found, something else is mounted there."""

INCOMING = "incoming"
"""The folder in which folders are put together before they are renamed."""

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which an entry of `incoming` is taken for the leftover of a crash."""


class HeldError(Exception):
    """Another process holds a claim; the text is the name that it gave."""


class OutOfSightError(OSError):
    """The storage is not there at the moment: its disk is not mounted, or another one is."""


class Log(Protocol):
    """A file that grows by whole pieces."""

    def append(self, piece: bytes) -> None:
        """Append a piece, all of it or nothing; it is durable when this returns."""

    def close(self) -> None:
        """Close the log."""


class Claim:
    """A hold on something that one process at a time may have."""

    def lost(self) -> bool:
        """Return whether another process has taken it, since this one was silent for too long."""
        return False


class Storage(ABC):
    """Files under one root, by names with `/`.

    A call that fails is retried as long as patience lasts. With an `identity`, it first checks that this is the
    storage that was meant, not the empty mount point of a disk that is gone. Reading what does not exist raises
    FileNotFoundError.

    Args:
        root: where it is.
        patience: for calls that fail.
        identity: what `identify` returned earlier; None trusts whatever is there.
    """

    whole_folders = False
    """Whether a committed folder appears at once, so that its files may have any names."""

    def __init__(self, root: Place, patience: Patience, identity: str | None = None) -> None:
        self.root = root
        self.patience = patience
        self.identity = identity

    # --- reading ------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """Read a file."""
        return self.patience(lambda: self._checked_if_missing(lambda: self._read(name)))

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""

        def exists() -> bool:
            found = self._exists(name)
            if not found:
                self.check_sight()
            return found

        return self.patience(exists)

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """List files and folders right below a folder (`""`: the root); nothing if it does not exist."""

    @abstractmethod
    def age(self, name: str) -> float:
        """Return the seconds since a file or folder was last changed, by the clock of the storage if possible."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the bytes of a file."""

    @abstractmethod
    def read_log(self, name: str) -> bytes:
        """Read all pieces of a log in order; nothing if it does not exist."""

    @abstractmethod
    def holder(self, name: str) -> str | None:
        """Return the name of the process that holds a claim, or None."""

    def download(self, name: str, target: Path) -> None:
        """Copy a file to a local path."""
        self.patience(lambda: self._download(name, target))

    # --- writing ------------------------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file; readers see the old content or the new one."""
        self._in_sight(lambda: self._write(name, content))

    def create(self, name: str, content: bytes) -> bool:
        """Write a file; return False if there is one, which stays.

        One with the same content may count as ours: the answer to an earlier attempt was lost.
        """
        return self._in_sight(lambda: self._create(name, content))

    def commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Write a folder of files; return False if there is a complete one, which stays: the first to finish wins.

        A folder is complete when the last of its files exists.
        """
        return self._in_sight(lambda: self._commit(folder, files))

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file here."""
        self._in_sight(lambda: self._upload(source, name))

    @abstractmethod
    def move(self, folder: str, to: str) -> None:
        """Move a folder out of the way, if it exists."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with everything in it, if it exists."""
        self._in_sight(lambda: self._remove(name))

    def sweep(self) -> None:
        """Remove what crashed processes left in `incoming`."""
        for entry in self.names(INCOMING):
            if not re.fullmatch("[0-9a-f]{32}", entry):
                continue  # not ours, in a folder that happens to have this name
            try:
                if self.age(f"{INCOMING}/{entry}") > ABANDONED_AFTER:
                    self.remove(f"{INCOMING}/{entry}")
            except FileNotFoundError:
                continue  # renamed by its writer meanwhile

    @abstractmethod
    def alone(self, name: str) -> AbstractContextManager[None]:
        """Wait for, and hold, an exclusive lock."""

    @abstractmethod
    def claim(self, name: str, who: str, *, wait: float) -> AbstractContextManager[Claim]:
        """Hold something for this process until the context ends or the process dies.

        Args:
            name: of the file that says so.
            who: names this process to others, in their HeldError.
            wait: seconds to wait for another holder.
        """

    @abstractmethod
    def log(self, name: str) -> Log:
        """Continue a log, or begin one; a piece cut off by a crash is dropped. Only the holder of a claim may."""

    # --- identity -----------------------------------------------------------------------------------------

    def identify(self) -> str:
        """Return the identity of the storage, created at first, and check for it in every later call."""
        new = uuid.uuid4().hex.encode()
        self.create(IDENTITY, new)
        if not re.fullmatch(b"[0-9a-f]{32}", self._read(IDENTITY)):
            self.write(IDENTITY, new)  # it was cut short or overwritten
        self.identity = self.read(IDENTITY).decode()
        return self.identity

    def check_sight(self) -> None:
        """Raise OutOfSightError if this is not the storage that was identified."""
        if self.identity is None:
            return
        try:
            found = self._read(IDENTITY).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            found = "none there"
        if found != self.identity:
            raise OutOfSightError(EIO, f"{self.root}: expected the storage {self.identity}, found {found}")

    def _in_sight(self, call: Callable[[], Result]) -> Result:
        def checked() -> Result:
            self.check_sight()
            return self._checked_if_missing(call)

        return self.patience(checked)

    def _checked_if_missing(self, call: Callable[[], Result]) -> Result:
        """Return what a call returns; a missing file may mean that the whole storage is gone."""
        try:
            return call()
        except FileNotFoundError:
            self.check_sight()
            raise

    # --- primitives ---------------------------------------------------------------------------------------

    @abstractmethod
    def _read(self, name: str) -> bytes: ...
    @abstractmethod
    def _exists(self, name: str) -> bool: ...
    @abstractmethod
    def _write(self, name: str, content: bytes) -> None: ...
    @abstractmethod
    def _create(self, name: str, content: bytes) -> bool: ...
    @abstractmethod
    def _commit(self, folder: str, files: Mapping[str, bytes]) -> bool: ...
    @abstractmethod
    def _download(self, name: str, target: Path) -> None: ...
    @abstractmethod
    def _remove(self, name: str) -> None: ...
    @abstractmethod
    def _upload(self, source: Path, name: str) -> None: ...
