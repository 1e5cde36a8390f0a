"""Decoded images on disk: decoded once, named by their content, mapped by every process that reads them.

<root>/images/<fingerprint>/           arrays (emma_tune.data.arrays)
<root>/images/sources/<source>.json    the fingerprint that a source was decoded to
<root>/incoming/                       arrays before they are renamed into place
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from emma_tune.data.arrays import (
    is_whole,
    map_parts,
    parts_fingerprint,
    plain_name,
    read_about,
    write_about,
    write_images,
    write_rest,
)
from emma_tune.data.files import BadImage, DecodeCallback
from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.pixels import WHITE, Seen
from emma_tune.data.source import DataError, Part
from emma_tune.storage import Storage, storage_at
from emma_tune.storage.atomic import locked
from emma_tune.storage.storage import INCOMING

FORM = 2
"""Version of the arrays, incremented when the same files would become others."""


@dataclass(frozen=True)
class Source:
    """Images as a study wants them, before they are decoded."""

    name: str  # shown to users
    stamp: str  # changes whenever the images, their labels, or the selection may have changed
    read: Callable[[], Mapping[str, Part]]
    shape: Shape | None  # what they are brought to; None leaves arrays as they are
    remarks: Sequence[str] = ()  # what to know of the images, a line each; complete once they are listed
    background: str = WHITE  # what transparent images are laid on

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The parts by name."""
        return self.read()

    @property
    def id(self) -> str:
        """Name of the source, known without opening any image or array."""
        about = [FORM, self.name, self.stamp, self.shape and asdict(self.shape)]
        if self.background != WHITE:
            about.append(self.background)
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cached:
    """The result of decoding a source."""

    fingerprint: str  # of the arrays
    bad: tuple[BadImage, ...] = ()  # files that could not be read and were left out
    remarks: tuple[str, ...] = ()  # on images that are not as their files show them

    def to_json(self) -> bytes:
        """Serialize as the note of a source."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(note: bytes) -> Cached:
        """Load what `to_json` returned; raises ValueError, KeyError or TypeError if it is damaged."""
        content = json.loads(note)
        bad = tuple(BadImage(**image) for image in content["bad"])
        return Cached(content["fingerprint"], bad, tuple(content["remarks"]))


class ImageCache:
    """The arrays under one folder; any number of processes may read and write it at once.

    Args:
        root: the folder; made when first written to.
        notes: where the notes of sources are; the same folder by default.
    """

    absent: type[OSError] = OSError
    """Errors that mean that a note cannot be read and its source has to be decoded."""

    def __init__(self, root: Path, notes: Storage | None = None) -> None:
        self._root = root
        self._images = root / "images"
        self._notes = notes or storage_at(root)

    def known(self, source: Source) -> Cached | None:
        """Return the result of decoding a source, if its arrays are there and undamaged; reads only."""
        try:
            cached = Cached.from_json(self._notes.read(_note(source)))
            return cached if self._has(cached.fingerprint) else None
        except (self.absent, ValueError, KeyError, TypeError):
            return None

    def get(self, source: Source, report: DecodeCallback) -> Cached:
        """Decode a source unless that was done before; raise DataError if a part has no image that can be read."""
        lock = self._root / f"{_note(source).removesuffix('.json')}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, lambda: report(0, 0)):  # it may raise to give up
            cached = self.known(source)
            if cached is None:
                cached = self._decode(source, report)
                self._remember(source, cached)
            return cached

    def load(self, fingerprint: str) -> dict[str, ImageSet]:
        """Map the parts of a fingerprint; raise FileNotFoundError if they are not there."""
        folder = self._folder(fingerprint)
        return map_parts(folder, read_about(folder))

    def _folder(self, fingerprint: str) -> Path:
        return self._images / plain_name(fingerprint)

    def _has(self, fingerprint: str) -> bool:
        return is_whole(self._folder(fingerprint))

    # --- writing ------------------------------------------------------------------------------------------

    def _decode(self, source: Source, report: DecodeCallback) -> Cached:
        with self._incoming() as incoming:
            seen = Seen(background=source.background)
            written = _write(source, incoming, report, seen)
            if seen.depth_found < seen.depth:  # which is known only now
                seen = Seen(seen.depth_found, source.background)
                written = _write(source, incoming, report, seen)
            parts, bad = written
            remarks = seen.remarks(source.shape) if source.shape else ()
            return Cached(self._commit(incoming, parts), bad, remarks)

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """Make a folder for arrays that do not count yet, after removing those of killed processes."""
        storage_at(self._root).sweep()
        incoming = self._root / INCOMING / uuid.uuid4().hex
        incoming.mkdir(parents=True)
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _commit(self, incoming: Path, parts: Mapping[str, ImageSet]) -> str:
        """Complete the files, and rename the folder to their fingerprint, which is returned."""
        about = write_rest(incoming, parts)
        fingerprint = parts_fingerprint(parts)
        write_about(incoming, about)
        folder = self._folder(fingerprint)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not is_whole(folder):
            folder.rename(incoming.with_name(uuid.uuid4().hex))
        try:
            incoming.rename(folder)
        except OSError:
            if not is_whole(folder):  # else another source has the same images
                raise
        return fingerprint

    def _remember(self, source: Source, cached: Cached) -> None:
        self._notes.write(_note(source), cached.to_json())


def _write(
    source: Source, folder: Path, report: DecodeCallback, seen: Seen
) -> tuple[dict[str, ImageSet], tuple[BadImage, ...]]:
    """Write the images of all parts; return them, mapped, and those that cannot be read."""
    total = sum(len(part) for part in source.parts.values())
    before = 0
    bad: list[BadImage] = []
    parts: dict[str, ImageSet] = {}
    for name, part in source.parts.items():
        file = folder / f"{name}.images.npy"
        parts[name], broken = write_images(part, source.shape, file, _offset(report, before, total), seen)
        if not len(parts[name]):
            raise DataError(f"{source.name}: expected images to {name}, found none that can be read")
        before += len(part)
        bad += broken
    return parts, tuple(bad)


def _note(source: Source) -> str:
    return f"images/sources/{source.id}.json"


def _offset(report: DecodeCallback, before: int, total: int) -> DecodeCallback:
    """Report the progress of a part as that of all parts."""
    return lambda done, _: report(before + done, total)
