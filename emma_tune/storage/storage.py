"""What both kinds of storage promise."""

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

SIGHT = "identity"
"""A file that names a storage: who finds another one there, or none, looks at something else."""


INCOMING = "incoming"
"""The folder in which whole folders are put together before they are renamed to where they count."""

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which something left in `incoming` belongs to nobody any more."""


class HeldError(Exception):
    """Somebody else holds a claim; the text says who."""


class OutOfSightError(OSError):
    """The storage is not there at the moment: a mount that is gone, another disk in its place."""


class Log(Protocol):
    """A file that grows by whole pieces."""

    def append(self, piece: bytes) -> None:
        """Adds a piece; it is kept for good when this returns, and is all there or not at all."""

    def close(self) -> None:
        """Nothing more will be added."""


class Claim(Protocol):
    """A hold on something that one process at a time may have."""

    def lost(self) -> bool:
        """Whether somebody else has it, after we were not heard of for too long."""


class Storage(ABC):
    """Files under one root, by name; `/` in names.

    A call that fails for the moment is tried again as long as patience lasts. With an `identity` it is first made
    sure that the storage is the one that was meant: an empty folder where a disk should be mounted holds nothing,
    and must not be written to.

    Args:
        root: where it is.
        patience: for calls that fail.
        identity: what `identify` gave where the storage was first seen; None trusts whatever is there.
    """

    whole_folders = False
    """Whether a committed folder appears at once, under names of its own choice."""

    def __init__(self, root: Place, patience: Patience, identity: str | None = None) -> None:
        self.root = root
        self.patience = patience
        self.identity = identity

    # --- reading ------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: if there is none.
        """

        def read() -> bytes:
            try:
                return self._read(name)
            except FileNotFoundError:
                self.check_sight()
                raise

        return self.patience(read)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

        def exists() -> bool:
            if self._exists(name):
                return True
            self.check_sight()
            return False

        return self.patience(exists)

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Files and folders right below a folder ("": the root), without its name; none if it does not exist."""

    @abstractmethod
    def age(self, name: str) -> float:
        """Seconds since a file or folder was last changed, by its storage's clock.

        Raises:
            FileNotFoundError: if it is gone.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: if it is gone.
        """

    @abstractmethod
    def read_log(self, name: str) -> bytes:
        """All pieces of a log in order; nothing if there is no log."""

    @abstractmethod
    def holder(self, name: str) -> str | None:
        """Who holds a claim; None if nobody does."""

    def download(self, name: str, target: Path) -> None:
        """Copies a file to a path of a disk."""
        self.patience(lambda: self._download(name, target))

    # --- writing ------------------------------------------------------------------------------------------

    def write(self, name: str, content: bytes) -> None:
        """Puts a file, in place of one that is there: a reader sees the old one or the new one, whole."""
        self._in_sight(lambda: self._write(name, content))

    def create(self, name: str, content: bytes) -> bool:
        """Puts a file where there is none.

        Returns:
            False if there is one, which stays; one with the same content may count as ours: an answer was lost.
        """
        return self._in_sight(lambda: self._create(name, content))

    def commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Puts a folder; it counts from the moment its last file is there. The first to finish wins.

        Args:
            folder: its name.
            files: by name; the last one says that the others are complete.

        Returns:
            False if there is one, which stays.
        """
        return self._in_sight(lambda: self._commit(folder, files))

    def upload(self, source: Path, name: str) -> None:
        """Copies a file from a path of a disk."""
        self._in_sight(lambda: self._upload(source, name))

    @abstractmethod
    def move(self, folder: str, to: str) -> None:
        """Moves a folder out of the way; nothing happens if it is gone."""

    def remove(self, name: str) -> None:
        """Removes a file, or a folder with all in it; nothing happens if it is gone."""
        self._in_sight(lambda: self._remove(name))

    def sweep(self) -> None:
        """Removes what killed processes left in `incoming` and nobody can still be writing."""
        for entry in self.names(INCOMING):
            if not re.fullmatch("[0-9a-f]{32}", entry):
                continue  # somebody else's, in a folder that happens to have this name
            try:
                if self.age(f"{INCOMING}/{entry}") > ABANDONED_AFTER:
                    self.remove(f"{INCOMING}/{entry}")
            except FileNotFoundError:
                continue  # its writer renamed it meanwhile

    @abstractmethod
    def alone(self, name: str) -> AbstractContextManager[None]:
        """Nobody else is inside an `alone` of the same name meanwhile."""

    @abstractmethod
    def claim(self, name: str, who: str, *, wait: float) -> AbstractContextManager[Claim]:
        """Holds something for this process, until it lets go or dies.

        Args:
            name: of the file that says so.
            who: for others who want it.
            wait: seconds to wait for the last holder's end.

        Raises:
            HeldError: naming who holds it.
        """

    @abstractmethod
    def log(self, name: str) -> Log:
        """Goes on with a log, or begins one. Only who holds a claim may; a piece cut off by a kill is lost."""

    # --- which one it is ----------------------------------------------------------------------------------

    def identify(self) -> str:
        """The storage's own name for itself, given to it when it is first asked; remembered as its `identity`."""
        self.create(SIGHT, _new_identity())
        if not re.fullmatch(b"[0-9a-f]{32}", self._read(SIGHT)):
            self.write(SIGHT, _new_identity())  # cut short or overwritten, it names nothing any more
        self.identity = self.read(SIGHT).decode()
        return self.identity

    def check_sight(self) -> None:
        """Makes sure that this is the storage that was identified.

        Raises:
            OutOfSightError: if not.
        """
        if self.identity is None:
            return
        try:
            found = self._read(SIGHT).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            raise OutOfSightError(
                EIO, f"{self.root}: expected the storage {self.identity}, found none there"
            ) from None
        if found != self.identity:
            raise OutOfSightError(EIO, f"{self.root}: expected the storage {self.identity}, found {found}")

    def _in_sight(self, call: Callable[[], Result]) -> Result:
        def checked() -> Result:
            self.check_sight()
            try:
                return call()
            except FileNotFoundError:
                self.check_sight()  # it may have gone in the middle
                raise

        return self.patience(checked)

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


def _new_identity() -> bytes:
    return uuid.uuid4().hex.encode()
