"""Files on a disk, of this machine or shared: written beside, synced, renamed; locks are the kernel's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

    # --- reading ------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes:
        return self._at(name).read_bytes()

    def _exists(self, name: str) -> bool:
        try:
            return stat.S_ISREG(self._at(name).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False  # and not Path.is_file, which takes a disk that fails for one without the file

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in self._at(folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def age(self, name: str) -> float:
        changed = self._at(name).stat().st_mtime
        with self._beside(name, b"") as now:  # by the clock of the disk's server: ours may be days off
            return now.stat().st_mtime - changed

    def size(self, name: str) -> int:
        return self._at(name).stat().st_size

    def read_log(self, name: str) -> bytes:
        try:
            return self.read(name)
        except FileNotFoundError:
            return b""

    def _download(self, name: str, target: Path) -> None:
        shutil.copyfile(self._at(name), target)

    # --- writing ------------------------------------------------------------------------------------------

    def _write(self, name: str, content: bytes) -> None:
        with self._beside(name, content) as beside:
            beside.replace(self._at(name))

    def _create(self, name: str, content: bytes) -> bool:
        with self._beside(name, content) as beside:
            try:
                os.link(beside, self._at(name))
            except FileExistsError:
                return False
        return True

    @contextmanager
    def _beside(self, name: str, content: bytes) -> Iterator[Path]:
        """A synced file beside the one it is to become; nothing is left of it."""
        path = self._at(name)
        self._make(path.parent)
        beside = path.with_name(f".{uuid.uuid4().hex}")
        try:
            _write_synced(beside, content)
            yield beside
        finally:
            beside.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Makes a folder; the root only where no storage has been seen yet: one that is gone comes back there."""
        if self.identity is None:
            self.root.mkdir(parents=True, exist_ok=True)
        below = self.root
        for part in folder.relative_to(self.root).parts:
            below = below / part
            below.mkdir(exist_ok=True)

    def _upload(self, source: Path, name: str) -> None:
        path = self._at(name)
        self._make(path.parent)
        beside = path.with_name(f".{uuid.uuid4().hex}")
        try:
            shutil.copyfile(source, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        incoming = self._at(f"{INCOMING}/{uuid.uuid4().hex}")
        self._make(incoming)
        try:
            for name, content in files.items():
                _write_synced(incoming / name, content)
            return self._rename_into_place(incoming, folder, mark=list(files)[-1])
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _rename_into_place(self, incoming: Path, folder: str, mark: str) -> bool:
        place = self._at(folder)
        self._make(place.parent)
        if not _renamed(incoming, place):
            with self.alone("aside.lock"):
                while not self._exists(f"{folder}/{mark}"):  # a folder without its last file is nobody's
                    self.move(folder, f"aside/{folder.replace('/', '-')}-{uuid.uuid4().hex[:8]}")
                    if _renamed(incoming, place):
                        break
                else:
                    return False
        _sync_folder(place.parent)
        return True

    def move(self, folder: str, to: str) -> None:
        target = self._at(to)
        self._make(target.parent)
        with contextlib.suppress(FileNotFoundError):
            self._at(folder).rename(target)

    def _remove(self, name: str) -> None:
        path = self._at(name)
        if path.is_dir():
            shutil.rmtree(path, onerror=_stays)
        else:
            path.unlink(missing_ok=True)

    # --- one at a time ------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        path = self._at(name)
        self._make(path.parent)
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def claim(self, name: str, who: str, *, wait: float) -> Iterator[Claim]:
        path = self._at(name)
        self._make(path.parent)
        with path.open("a+") as file:
            deadline = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the kernel, however we end
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise HeldError(self._said_by(path)) from error
                    time.sleep(0.05)
            file.truncate(0)
            file.write(who)
            file.flush()
            yield _Held()

    def holder(self, name: str) -> str | None:
        path = self._at(name)
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return self._said_by(path)
        except FileNotFoundError:
            pass
        return None

    @staticmethod
    def _said_by(path: Path) -> str:
        return path.read_text().strip() or "another process"

    def log(self, name: str) -> DiskLog:
        path = self._at(name)
        self._make(path.parent)
        return DiskLog(path, self.patience)


class _Held:
    """What the kernel keeps for us."""

    def lost(self) -> bool:
        return False


class DiskLog:
    """A file that pieces are appended to.

    Args:
        path: of the file; made if absent. A last piece without a line's end, left by a kill, is cut off.
        patience: for appends that fail: a full disk is waited for.
    """

    def __init__(self, path: Path, patience: Patience) -> None:
        self._path = path
        self._patience = patience
        self._file = path.open("ab")
        content = path.read_bytes()
        self._end = len(content) if content.endswith(b"\n") else content.rfind(b"\n") + 1
        if self._end < len(content):
            self._file.truncate(self._end)

    def append(self, piece: bytes) -> None:
        self._patience(lambda: self._append(piece))
        self._end += len(piece)

    def _append(self, piece: bytes) -> None:
        if self._file.closed:  # an earlier try failed, and the file could not be opened again
            self._begin_again()
        try:
            self._file.write(piece)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.close()  # half a piece may have been written, and what is buffered must not come late
            with contextlib.suppress(OSError):
                self._begin_again()  # now, if it can be, for whoever reads meanwhile
            raise

    def _begin_again(self) -> None:
        """Opens the file as it was before the piece that failed."""
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
        self._file.close()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _stays(function: Any, path: str, failed: Any) -> None:
    """What of a folder cannot be removed: what may be later is said, the rest is somebody else's by now."""
    if isinstance(failed[1], OSError) and passes(failed[1]):
        raise failed[1]


def _renamed(incoming: Path, folder: Path) -> bool:
    """Renames one folder to another; False if something lies there already: the first to finish a task wins."""
    try:
        incoming.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
