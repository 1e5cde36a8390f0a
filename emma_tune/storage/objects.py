"""Files in an object store: every put is whole, the store sees to it that one is the first, locks are leases.

Wants conditional puts (S3 has them, MinIO and Google's store too).
"""

from __future__ import annotations

import contextlib
import json
import threading
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
from upath import UPath

from emma_tune.storage.patience import LASTING, Result, passes
from emma_tune.storage.places import inside
from emma_tune.storage.storage import Claim, HeldError, Storage

LEASE = 20.0
"""Seconds that a holder may be silent before somebody else takes what it held."""

BEAT = LEASE / 5
"""Seconds between two signs of life."""

ANSWER, SLOWEST = 30.0, 128 * 1024
"""Seconds that a put may take, and bytes that it sends in each second more."""

MISTAKES = (TypeError, AttributeError, LookupError, ImportError, NotImplementedError)
"""Of a program, which no waiting mends."""

SEGMENT = 256 * 1024
"""Bytes of a log's segment from which on the next one is begun: a segment is put anew with every piece."""


class ObjectStore(Storage):
    """A prefix of a bucket, through fsspec."""

    root: UPath

    def _at(self, name: str) -> str:
        place = inside(self.root, name) if name else self.root
        assert isinstance(place, UPath), "below a URL there are URLs"
        return str(place.path)

    def _call(self, name: str, call: Callable[[AbstractFileSystem, str], Result]) -> Result:
        """What a call about a file gives; every failure that is not about the file itself may pass."""
        place = self._at(name)
        try:
            return call(self._fs, place)
        except (*LASTING, *MISTAKES):
            raise
        except OSError as error:
            if passes(error) and str(error):
                raise
            raise self._silent(str(error) or "silence") from error
        except Exception as error:  # each protocol's own, of network, authorization and time
            raise self._silent(f"{type(error).__name__}: {error}") from error

    @cached_property
    def _fs(self) -> AbstractFileSystem:
        fs: Any = self.root.fs
        fs.retries = 1  # s3fs would try five times, and say nothing meanwhile
        return fs

    def _silent(self, found: str) -> OSError:
        return OSError(EIO, f"{self.root}: expected an object store that answers, found {found}")

    # --- reading ------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes:
        return self._call(name, lambda fs, place: bytes(fs.cat_file(place)))

    def _exists(self, name: str) -> bool:
        try:
            return bool(self._call(name, lambda fs, place: fs.info(place))["type"] == "file")
        except FileNotFoundError:
            return False

    def names(self, folder: str) -> list[str]:
        try:
            listed = self.patience(
                lambda: self._call(folder, lambda fs, place: fs.ls(place, detail=False, refresh=True))
            )
        except FileNotFoundError:
            return []
        own = self._at(folder).rstrip("/")
        return sorted({str(name).rstrip("/").rpartition("/")[2] for name in listed if str(name) != own})

    def age(self, name: str) -> float:
        """As `Storage.age`, but by this machine's clock, as far as it is off that of the store."""
        changed = self.patience(lambda: self._call(name, lambda fs, place: fs.modified(place)))
        return time.time() - float(changed.timestamp())

    def size(self, name: str) -> int:
        return self.patience(lambda: self._call(name, lambda fs, place: int(fs.info(place)["size"])))

    def read_log(self, name: str) -> bytes:
        segments = [self.read(f"{name}/{segment}") for segment in self.names(name)]
        # one that was cut short must not take the next one's first piece with it
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
            if not (isinstance(error, FileExistsError) or _was_there(error)):
                raise
            return self._read(name) == content  # ours, put by a call whose answer was lost on the way
        return True

    def _upload(self, source: Path, name: str) -> None:
        size = source.stat().st_size
        self._call(name, lambda fs, place: _put(fs, size, "put_file", str(source), place))

    def _commit(self, folder: str, files: Mapping[str, bytes]) -> bool:
        *others, last = files
        if self._exists(f"{folder}/{last}"):
            return self._read(f"{folder}/{last}") == files[last]  # ours, as in `_create`
        for name in others:
            self._write(f"{folder}/{name}", files[name])
        return self._create(f"{folder}/{last}", files[last])

    def move(self, folder: str, to: str) -> None:
        """As `Storage.move`, file by file. The record goes first, by its name, and then nothing counts."""
        names = self.names(folder)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.write(f"{to}/{name}", self.read(f"{folder}/{name}"))
        for name in names:
            self.remove(f"{folder}/{name}")

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call(name, lambda fs, place: fs.rm(place, recursive=True))

    # --- one at a time ------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        with self.claim(name, uuid.uuid4().hex, wait=float("inf")):
            yield

    @contextmanager
    def claim(self, name: str, who: str, *, wait: float) -> Iterator[Claim]:
        lease = _Lease(self, name, who)
        lease.take(wait)
        try:
            yield lease
        finally:
            lease.let_go()

    def holder(self, name: str) -> str | None:
        return _Lease(self, name, "").holder()

    def log(self, name: str) -> SegmentedLog:
        return SegmentedLog(self, name)


def _put(fs: AbstractFileSystem, size: int, method: str, *arguments: Any, **named: Any) -> None:
    """Puts so many bytes in a time that has an end.

    Seen of aiohttp: a client that waits to be told to send its bytes (`Expect: 100-continue`) waits for ever.
    """
    if fs.async_impl:
        seconds = ANSWER + size / SLOWEST
        sync(fs.loop, getattr(fs, f"_{method}"), *arguments, timeout=seconds, **named)
    else:
        getattr(fs, method)(*arguments, **named)


def _was_there(error: BaseException | None) -> bool:
    """Whether a put failed because there is such an object already.

    S3 names the condition that did not hold; MinIO does not, and s3fs takes its answer for a mistake in the call.
    """
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, Mapping) and answer.get("Error", {}).get("Code") == "PreconditionFailed":
            return True
        error = error.__cause__
    return False


class SegmentedLog:
    """A log as numbered objects, each of many pieces; a writer begins one of its own, and never touches another's.

    Args:
        store: where it is.
        name: the prefix of its segments.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._content = b""
        self._number = len(store.names(name)) - 1

    def append(self, piece: bytes) -> None:
        if 0 < len(self._content) < SEGMENT:
            self._store.write(self._segment(), self._content + piece)
        else:
            self._number += 1
            while not self._store.create(self._segment(), piece):
                self._number += 1  # one that was begun by somebody who had lost the claim, and did not know
            self._content = b""
        self._content += piece

    def _segment(self) -> str:
        return f"{self._name}/{self._number:08d}"

    def close(self) -> None:
        """Nothing is open."""


class _Lease:
    """A claim by signs of life: `<name>/<generation>` says who holds it, and is put anew every few seconds.

    Whoever wants it watches these signs, by his own clock and no other. When none has come for the length of a
    lease he makes the next generation, which only one can.
    """

    def __init__(self, store: ObjectStore, name: str, who: str) -> None:
        self._store = store
        self._name = name
        self._who = who
        self._own = uuid.uuid4().hex  # in two containers two processes may have one name, and ask in one second
        self._generation = -1
        self._lost = False
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name=f"lease of {name}", daemon=True)

    # --- holding ------------------------------------------------------------------------------------------

    def take(self, wait: float) -> None:
        """Waits until nobody holds it, at most so long as somebody is seen to be alive.

        Raises:
            HeldError: naming who.
        """
        began = time.monotonic()
        seen: tuple[int, Any] | None = None
        seen_at = began
        while True:
            generation, said = self._latest()
            now = time.monotonic()
            if said is None or said.get("released"):
                free = True
            else:
                sign = (generation, said.get("beat"))
                alive = seen is not None and sign != seen
                if sign != seen:
                    seen, seen_at = sign, now
                if alive and now - began > wait:
                    raise HeldError(str(said.get("who") or "another process"))
                free = now - seen_at > LEASE
            if free and self._store.create(self._object(generation + 1), self._sign(0)):
                self._generation = generation + 1
                self._beating.start()
                return
            time.sleep(0.0 if free else 0.2)

    def lost(self) -> bool:
        return self._lost

    def let_go(self) -> None:
        """Somebody else may have it."""
        self._ended.set()
        self._beating.join()
        with contextlib.suppress(OSError):  # who cannot be reached sees for himself that no sign comes any more
            if not self._lost:
                self._store.write(self._object(self._generation), self._sign(-1, released=True))
            for generation in self._generations():
                if generation < self._generation:
                    self._store.remove(self._object(generation))

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT):
            beat += 1
            with contextlib.suppress(Exception):  # out of sight: if it lasts, somebody takes it, and we see that
                if max(self._generations(), default=-1) > self._generation:
                    self._lost = True
                    return
                self._store._write(self._object(self._generation), self._sign(beat))

    # --- looking ------------------------------------------------------------------------------------------

    def holder(self) -> str | None:
        """Who has given a sign of life lately, by this machine's clock; who takes it asks no clock of others."""
        generation, said = self._latest()
        if said is None or said.get("released") or self._store.age(self._object(generation)) > LEASE:
            return None
        return str(said.get("who") or "another process")

    def _latest(self) -> tuple[int, dict[str, Any] | None]:
        """The last generation and what it says; None if there is none."""
        generation = max(self._generations(), default=-1)
        if generation < 0:
            return generation, None
        try:
            return generation, dict(json.loads(self._store.read(self._object(generation))))
        except (FileNotFoundError, ValueError):
            return generation, {}

    def _generations(self) -> list[int]:
        return [int(name) for name in self._store.names(self._name) if name.isdecimal()]

    def _object(self, generation: int) -> str:
        return f"{self._name}/{generation:08d}"

    def _sign(self, beat: int, *, released: bool = False) -> bytes:
        return json.dumps({"who": self._who, "lease": self._own, "beat": beat, "released": released}).encode()
