"""Arrays of images on disk: decoded once, named by their content, mapped by every process that reads them.

<root>/images/<fingerprint>/PART.images.npy, PART.labels.npy, PART.names.npy, about.json
<root>/images/sources/<source>.json    which arrays a data set became, so that it need not be decoded to be known
<root>/incoming/                       arrays before they are renamed into place
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from emma_tune.data.files import BadImage, Report, decode
from emma_tune.data.images import ImageSet, PixelStatistics, Shape, chunks, fingerprint, match_shape
from emma_tune.data.source import DataError, Part
from emma_tune.storage import storage_at
from emma_tune.storage.storage import INCOMING

FORM = 1
"""Raised when the same files would become other arrays."""


@dataclass(frozen=True)
class Source:
    """Images as a study wants them, before they are decoded.

    Attributes:
        name: for people.
        stamp: changes whenever the images or their labels may have, or what is taken of them.
        read: gives the parts by name.
        shape: what they are brought to; None leaves arrays as they are.
    """

    name: str
    stamp: str
    read: Callable[[], Mapping[str, Part]]
    shape: Shape | None

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The parts by name."""
        return self.read()

    @property
    def id(self) -> str:
        """Names the source by what can be known without reading arrays or opening the files of images."""
        about = [FORM, self.name, self.stamp, self.shape and asdict(self.shape)]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cached:
    """What a source became.

    Attributes:
        fingerprint: of the arrays.
        bad: files that could not be read and were left out.
    """

    fingerprint: str
    bad: tuple[BadImage, ...] = ()


class ImageCache:
    """The arrays under one folder; any number of processes may read and write it at once.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._images = root / "images"

    def known(self, source: Source) -> Cached | None:
        """What a source became, if its arrays are there and as they were written; reads only."""
        try:
            cached = noted(self._note(source).read_bytes())
            return cached if self._is_whole(cached.fingerprint) else None
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return None

    def get(self, source: Source, report: Report) -> Cached:
        """What a source became; decodes it if nobody has.

        Args:
            source: the images.
            report: hears how many of how many are decoded.

        Raises:
            DataError: if a part has no image that can be read.
        """
        with self._alone(source, report):  # who wants the same images waits, and then finds them
            cached = self.known(source)
            if cached is None:
                cached = self._decode(source, report)
                self._remember(source, cached)
            return cached

    def load(self, fingerprint: str) -> dict[str, ImageSet]:
        """The parts of a fingerprint; arrays are mapped, not read.

        Raises:
            FileNotFoundError: if they are not there.
        """
        return self._mapped(fingerprint)

    def _mapped(self, fingerprint: str) -> dict[str, ImageSet]:
        folder = self._images / plain_name(fingerprint)
        return mapped(folder, json.loads((folder / "about.json").read_bytes()))

    # --- writing ------------------------------------------------------------------------------------------

    def _decode(self, source: Source, report: Report) -> Cached:
        with self._incoming() as incoming:
            total = sum(len(part) for part in source.parts.values())
            before = 0
            bad: list[BadImage] = []
            parts: dict[str, ImageSet] = {}
            for name, part in source.parts.items():
                file = incoming / f"{name}.images.npy"
                images, broken = _arrays(part, source.shape, file, _counted_on(report, before, total))
                if not len(images):
                    raise DataError(f"{source.name}: expected images to {name}, found none that can be read")
                before += len(part)
                bad += broken
                parts[name] = images
            return Cached(self._commit(incoming, parts), tuple(bad))

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A folder for arrays that do not count yet. What killed processes left of theirs goes."""
        storage_at(self._root).sweep()
        incoming = self._root / INCOMING / uuid.uuid4().hex
        incoming.mkdir(parents=True)
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _commit(self, incoming: Path, parts: Mapping[str, ImageSet]) -> str:
        """Writes what is beside the images, and renames the folder to the fingerprint of it all."""
        about: dict[str, Any] = {"parts": {}}
        for name, part in parts.items():
            if part.labels is not None:
                np.save(incoming / f"{name}.labels.npy", part.labels)
            if part.names is not None:
                np.save(incoming / f"{name}.names.npy", part.names, allow_pickle=False)
            about["parts"][name] = {"view": part.view, "statistics": asdict(part.statistics)}
        key = content_of(parts)
        for file in incoming.iterdir():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        with_stats(incoming, about)
        folder = self._images / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not self._is_whole(key):
            folder.rename(incoming.with_name(uuid.uuid4().hex))
        try:
            incoming.rename(folder)
        except OSError:
            if not self._is_whole(key):  # else another source has the same images
                raise
        return key

    def _is_whole(self, key: str) -> bool:
        """Whether the files are those that were written, by size and time of change; else by their content."""
        try:
            folder = self._images / plain_name(key)
            about = json.loads((folder / "about.json").read_bytes())
            if all(_stat(folder / plain_name(name)) == stat for name, stat in about["files"].items()):
                return True
            return content_of(self._mapped(key)) == key  # copied, perhaps: another time, the same content
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return False

    def _remember(self, source: Source, cached: Cached) -> None:
        """Notes what a source became."""
        _write_json(self._note(source), note_of(cached))

    def _note(self, source: Source) -> Path:
        return self._images / "sources" / f"{source.id}.json"

    @contextmanager
    def _alone(self, source: Source, report: Report) -> Iterator[None]:
        lock = self._note(source).with_suffix(".lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    report(0, 0)  # whoever listens may have had enough
                    time.sleep(0.1)
            yield


def _counted_on(report: Report, before: int, total: int) -> Report:
    return lambda done, _: report(before + done, total)


def content_of(parts: Mapping[str, ImageSet]) -> str:
    """The fingerprint of images, labels and views; names and places do not count."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, part in parts.items():
        arrays[f"{name}.images"] = part.images
        if part.labels is not None:
            arrays[f"{name}.labels"] = part.labels
        if part.view is not None:
            arrays[f"{name}.view"] = np.array(part.view)
    return fingerprint(arrays)


def _arrays(part: Part, shape: Shape | None, file: Path, report: Report) -> tuple[ImageSet, list[BadImage]]:
    """Writes the images of a part to a file; gives them mapped, without those that cannot be read."""
    if isinstance(part, ImageSet):
        matched = match_shape(part, shape) if shape else part
        np.save(file, np.ascontiguousarray(matched.images))
        return matched, []
    assert shape is not None, "files are decoded to a shape"
    out = open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(len(part), shape.channels, shape.height, shape.width)
    )
    with file.open("rb+") as whole:  # room on disk is found wanting here, and not as a crash in the middle
        os.posix_fallocate(whole.fileno(), 0, file.stat().st_size)
    bad = decode(part, shape, out, report)
    good = np.setdiff1d(np.arange(len(part)), list(bad))
    if bad:
        out = _only(good, out, file)
    out.flush()
    kept = part.take(good)
    view = None if shape.view == (shape.height, shape.width) else shape.view
    return ImageSet(out, kept.labels, np.array(kept.names), view), list(bad.values())


def _only(rows: NDArray[np.intp], array: NDArray[np.uint8], file: Path) -> np.memmap[Any, Any]:
    """Some rows of the array in a file, in a file that takes its place."""
    beside = file.with_suffix(".rows")
    kept = open_memmap(beside, mode="w+", dtype=array.dtype, shape=(len(rows), *array.shape[1:]))
    for some in chunks(kept):
        kept[some] = array[rows[some]]
    beside.replace(file)
    return kept


def mapped(folder: Path, about: Mapping[str, Any]) -> dict[str, ImageSet]:
    """The parts in a folder, of which `about` says what its arrays do not."""
    return {name: _map_part(folder, name, part) for name, part in about["parts"].items()}


def _map_part(folder: Path, name: str, about: Mapping[str, Any]) -> ImageSet:
    def array(what: str) -> NDArray[Any] | None:
        file = folder / f"{plain_name(name)}.{what}.npy"
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None

    images = array("images")
    assert images is not None
    view = tuple(about["view"]) if about["view"] else None
    statistics = PixelStatistics(*(tuple(about["statistics"][what]) for what in ("mean", "std")))
    return ImageSet(images, array("labels"), array("names"), view, statistics)


def with_stats(folder: Path, about: dict[str, Any]) -> None:
    """Writes what is known of the arrays in a folder, with size and time of change of every file."""
    about["files"] = {file.name: _stat(file) for file in folder.iterdir()}
    _write_json(folder / "about.json", about)


def plain_name(text: str) -> str:
    """A name that was read from a file, and leads nowhere else.

    Raises:
        ValueError: if it does.
    """
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"expected a name, found {text!r}")
    return text


def note_of(cached: Cached) -> dict[str, Any]:
    """What a source became, as JSON."""
    return {"fingerprint": cached.fingerprint, "bad": [asdict(image) for image in cached.bad]}


def noted(note: bytes) -> Cached:
    """What `note_of` wrote.

    Raises:
        ValueError, KeyError, TypeError: if this is something else.
    """
    content = json.loads(note)
    return Cached(content["fingerprint"], tuple(BadImage(**bad) for bad in content["bad"]))


def _stat(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(f".{uuid.uuid4().hex}")
    with beside.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
