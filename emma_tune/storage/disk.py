"""Storage in a folder of a file system, local or shared: atomic renames, and locks of the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from emma_tune.storage.atomic import (
    UNSUPPORTED,
    is_locked,
    locked,
    replacing,
    sync_folder,
    synced_file,
    temporary_beside,
    whole_file,
)
from emma_tune.storage.patience import Patience, passes
from emma_tune.storage.places import inside
from emma_tune.storage.storage import INCOMING, Claim, HeldError, OutOfSightError, Storage


class Disk(Storage):
    """A folder of a file system."""

    whole_folders = True
    root: Path

    def _at(self, name: str) -> Path:
        place = inside(self.root, name) if name else self.root
        assert isinstance(place, Path), "below a path there are paths"
        return place

    def _to_write(self, name: str) -> Path:
        """Return the path of a file, after making its folder.

        The root is made only while no storage has been identified: a mount that is gone comes back there.
        """
        path = self._at(name)
        if self.identity is None:
            self.root.mkdir(parents=True, exist_ok=True)
        below = self.root
        for part in path.parent.relative_to(self.root).parts:
            below = below / part
            below.mkdir(exist_ok=True)
        return path

    # --- reading ------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes:
        return self._at(name).read_bytes()

    def _exists(self, name: str) -> bool:
        try:  # Path.is_file would also return False for a disk that fails
            return stat.S_ISREG(self._at(name).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    @override
    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in self._at(folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def age(self, name: str) -> float:
        path = self._at(name)
        changed = path.stat().st_mtime
        with temporary_beside(path) as now:  # by the clock of the file server, which may differ from ours
            now.touch()
            return now.stat().st_mtime - changed

    @override
    def size(self, name: str) -> int:
        return self._at(name).stat().st_size

    @override
    def read_log(self, name: str) -> bytes:
        try:
            return self.read(name)
        except FileNotFoundError:
            return b""

    def _download(self, name: str, target: Path) -> None:
        shutil.copyfile(self._at(name), target)

    # --- writing ------------------------------------------------------------------------------------------

    def _write(self, name: str, content: bytes) -> None:
        with whole_file(self._to_write(name)) as file:
            file.write(content)

    def _create(self, name: str, content: bytes) -> bool:
        path = self._to_write(name)
        with temporary_beside(path) as temporary:
            with synced_file(temporary) as file:
                file.write(content)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in {*UNSUPPORTED, errno.EPERM}:
                    raise
                return self._create_by_lock(temporary, path)
        return True

    @staticmethod
    def _create_by_lock(temporary: Path, path: Path) -> bool:
        """Create a file where the file system has no hard links."""
        with locked(path.with_name(".create.lock")):
            if path.exists():
                return False
            temporary.rename(path)
        return True

    def _upload(self, source: Path, name: str) -> None:
        with replacing(self._to_write(name)) as temporary:
            shutil.copyfile(source, temporary)

    def _commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        incoming = self._to_write(f"{INCOMING}/{uuid.uuid4().hex}")
        incoming.mkdir()
        try:
            for name, content in files.items():
                with synced_file(incoming / name) as file:
                    file.write(content)
            return self._rename_into_place(incoming, folder, last=list(files)[-1])
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _rename_into_place(self, incoming: Path, folder: str, last: str) -> bool:
        place = self._to_write(folder)
        if not _renamed(incoming, place):
            with self.alone("aside.lock"):
                while not self._exists(f"{folder}/{last}"):  # incomplete: left by a crash
                    self.move(folder, f"aside/{folder.replace('/', '-')}-{uuid.uuid4().hex[:8]}")
                    if _renamed(incoming, place):
                        break
                else:
                    return False
        sync_folder(place.parent)
        return True

    @override
    def move(self, folder: str, to: str) -> None:
        target = self._to_write(to)
        with contextlib.suppress(FileNotFoundError):
            _move(self._at(folder), target)

    def _remove(self, name: str) -> None:
        path = self._at(name)
        if path.is_dir():
            shutil.rmtree(path, onerror=_reraise_transient)
        else:
            path.unlink(missing_ok=True)

    # --- one at a time ------------------------------------------------------------------------------------

    @override
    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        with locked(self._to_write(name)):
            yield

    @override
    @contextmanager
    def claim(self, name: str, who: str, *, wait: float) -> Iterator[Claim]:
        path = self._to_write(name)
        deadline = time.monotonic() + wait

        def waiting() -> None:
            if time.monotonic() > deadline:
                raise HeldError(_written_holder(path))

        with locked(path, waiting) as file:
            file.truncate(0)
            file.write(who)
            file.flush()
            yield Claim()

    @override
    def holder(self, name: str) -> str | None:
        path = self._at(name)
        return _written_holder(path) if is_locked(path) else None

    @override
    def log(self, name: str) -> DiskLog:
        return DiskLog(self._to_write(name), self.patience)


class DiskLog:
    """A file that pieces are appended to. A last piece without a newline, left by a crash, is cut off."""

    def __init__(self, path: Path, patience: Patience) -> None:
        self._path = path
        self._patience = patience
        self._file = path.open("ab")
        content = path.read_bytes()
        self._end = content.rfind(b"\n") + 1
        if self._end < len(content):
            self._file.truncate(self._end)

    def append(self, piece: bytes) -> None:
        """Append a piece; it is on the disk when this returns."""
        self._patience(lambda: self._append(piece))
        self._end += len(piece)

    def _append(self, piece: bytes) -> None:
        if self._file.closed:  # an earlier attempt failed, and the file could not be opened again
            self._reopen()
        try:
            self._file.write(piece)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.close()  # drops the buffer: half of the piece may have been written already
            with contextlib.suppress(OSError):
                self._reopen()  # cuts that half off now, for readers
            raise

    def _reopen(self) -> None:
        """Open the file as it was before the piece that failed."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._end:
            raise OutOfSightError(
                errno.EIO, f"{self._path}: expected the {self._end} bytes written so far, found {size}"
            )
        file = self._path.open("ab")
        try:
            file.truncate(self._end)
        except OSError:
            file.close()
            raise
        self._file = file

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _written_holder(path: Path) -> str:
    return path.read_text().strip() or "another process"


def _reraise_transient(function: Any, path: str, failed: Any) -> None:
    """Handle an error of rmtree: raise transient ones, ignore files that another process has removed."""
    if isinstance(failed[1], OSError) and passes(failed[1]):
        raise failed[1]


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # a folder in a lower layer of an overlay, as of a container's image
            raise
        shutil.copytree(folder, target)
        shutil.rmtree(folder)


def _renamed(incoming: Path, folder: Path) -> bool:
    """Rename a folder; return False if the new name is taken: the first to finish a task wins."""
    try:
        incoming.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True
