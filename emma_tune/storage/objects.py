"""Storage in an object store: every put is whole, conditional puts decide who is first, locks are leases.

Needs conditional puts (`If-None-Match: *`), which S3, MinIO and Google Cloud Storage have.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from errno import EIO
from functools import cached_property
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import sync
from typing_extensions import override
from upath import UPath

from emma_tune.storage.lease import Lease
from emma_tune.storage.patience import LASTING, Result, passes
from emma_tune.storage.places import inside
from emma_tune.storage.storage import Claim, Storage

PUT_TIMEOUT, SLOWEST_UPLOAD = 30.0, 128 * 1024
"""Seconds that a put may take, and bytes that it must send in every second more."""

PROGRAMMING_ERRORS = (TypeError, AttributeError, LookupError, ImportError, NotImplementedError)
"""Exceptions of a call that are raised as they are: no retry helps."""

SEGMENT = 256 * 1024
"""Bytes after which a log begins its next segment: a segment is put again with every piece."""


class ObjectStore(Storage):
    """A prefix of a bucket, through fsspec."""

    root: UPath

    def _at(self, name: str) -> str:
        place = inside(self.root, name) if name else self.root
        assert isinstance(place, UPath), "below a URL there are URLs"
        return str(place.path)

    def _call(self, name: str, call: Callable[[AbstractFileSystem, str], Result]) -> Result:
        """Call about a file; a failure that is not about the file itself is raised as a transient OSError."""
        place = self._at(name)
        try:
            return call(self._fs, place)
        except (*LASTING, *PROGRAMMING_ERRORS):
            raise
        except OSError as error:
            if passes(error) and str(error):
                raise
            raise self._no_answer(str(error) or "silence") from error
        except Exception as error:  # each protocol's own, of network, authorization and time
            raise self._no_answer(f"{type(error).__name__}: {error}") from error

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        fs: Any = self.root.fs
        fs.retries = 1  # s3fs has no option for it, and would retry five times without a word
        return fs

    def _no_answer(self, found: str) -> OSError:
        return OSError(EIO, f"{self.root}: expected an object store that answers, found {found}")

    # --- reading ------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes:
        return self._call(name, lambda fs, place: bytes(fs.cat_file(place)))

    def _exists(self, name: str) -> bool:
        try:
            return bool(self._call(name, lambda fs, place: fs.info(place))["type"] == "file")
        except FileNotFoundError:
            return False

    @override
    def names(self, folder: str) -> list[str]:
        try:
            listed = self.patience(
                lambda: self._call(folder, lambda fs, place: fs.ls(place, detail=False, refresh=True))
            )
        except FileNotFoundError:
            return []
        own = self._at(folder).rstrip("/")
        return sorted({str(name).rstrip("/").rpartition("/")[2] for name in listed if str(name) != own})

    @override
    def age(self, name: str) -> float:
        # by this machine's clock, which may differ from the store's
        changed = self.patience(lambda: self._call(name, lambda fs, place: fs.modified(place)))
        return time.time() - float(changed.timestamp())

    @override
    def size(self, name: str) -> int:
        return self.patience(lambda: self._call(name, lambda fs, place: int(fs.info(place)["size"])))

    @override
    def read_log(self, name: str) -> bytes:
        segments = [self.read(f"{name}/{segment}") for segment in self.names(name)]
        # a segment cut short must not swallow the first piece of the next one
        whole = [one if one.endswith(b"\n") else one + b"\n" for one in segments[:-1] if one]
        return b"".join([*whole, *segments[-1:]])

    def _download(self, name: str, target: Path) -> None:
        self._call(name, lambda fs, place: fs.get_file(place, str(target)))

    # --- writing ------------------------------------------------------------------------------------------

    def _write(self, name: str, content: bytes) -> None:
        self._call(name, lambda fs, place: _put(fs, len(content), "pipe_file", place, content))

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._call(name, lambda fs, place: _put(fs, len(content), "pipe_file", place, content, mode="create"))
        except OSError as error:
            if not (isinstance(error, FileExistsError) or _condition_failed(error)):
                raise
            return self._read(name) == content  # ours if the answer to an earlier attempt was lost
        return True

    def _upload(self, source: Path, name: str) -> None:
        size = source.stat().st_size
        self._call(name, lambda fs, place: _put(fs, size, "put_file", str(source), place))

    def _commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        *others, last = files
        if self._exists(f"{folder}/{last}"):
            return self._read(f"{folder}/{last}") == files[last]  # as in `_create`
        for name in others:
            self._write(f"{folder}/{name}", files[name])
        return self._create(f"{folder}/{last}", files[last])

    @override
    def move(self, folder: str, to: str) -> None:
        names = self.names(folder)  # sorted: the record is removed first, and the rest does not count without it
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.write(f"{to}/{name}", self.read(f"{folder}/{name}"))
        for name in names:
            self.remove(f"{folder}/{name}")

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call(name, lambda fs, place: fs.rm(place, recursive=True))

    # --- one at a time ------------------------------------------------------------------------------------

    @override
    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        with self.claim(name, uuid.uuid4().hex, wait=float("inf")):
            yield

    @override
    @contextmanager
    def claim(self, name: str, who: str, *, wait: float) -> Iterator[Claim]:
        lease = Lease(self, name, who)
        lease.take(wait)
        try:
            yield lease
        finally:
            lease.release()

    @override
    def holder(self, name: str) -> str | None:
        return Lease(self, name, "").holder()

    @override
    def log(self, name: str) -> SegmentedLog:
        return SegmentedLog(self, name)


def _put(fs: AbstractFileSystem, size: int, method: str, *arguments: Any, **named: Any) -> None:
    """Put `size` bytes with a timeout, which the synchronous methods of fsspec do not take.

    Without one, aiohttp may wait forever for the answer to `Expect: 100-continue`.
    """
    if fs.async_impl:
        put = getattr(fs, f"_{method}")  # fsspec's convention for its coroutines
        sync(fs.loop, put, *arguments, timeout=PUT_TIMEOUT + size / SLOWEST_UPLOAD, **named)
    else:
        getattr(fs, method)(*arguments, **named)


def _condition_failed(error: BaseException | None) -> bool:
    """Return whether a put failed because the object exists.

    S3 names the condition that failed; MinIO does not, and s3fs takes its answer for an invalid call.
    """
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, Mapping) and answer.get("Error", {}).get("Code") == "PreconditionFailed":
            return True
        error = error.__cause__
    return False


class SegmentedLog:
    """A log as numbered objects of many pieces each; a writer begins its own, and never changes another's."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._content = b""
        self._number = len(store.names(name)) - 1

    def append(self, piece: bytes) -> None:
        """Append a piece; it is in the store when this returns."""
        if 0 < len(self._content) < SEGMENT:
            self._store.write(self._segment(), self._content + piece)
        else:
            self._number += 1
            while not self._store.create(self._segment(), piece):
                self._number += 1  # begun by a writer that had lost the claim without knowing
            self._content = b""
        self._content += piece

    def _segment(self) -> str:
        return f"{self._name}/{self._number:08d}"

    def close(self) -> None:
        """Do nothing: no file is open."""
