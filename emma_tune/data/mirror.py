"""Arrays of images in an object store, mapped from a copy on this machine's disk.

<root>/images/<fingerprint>/…, <root>/images/sources/<source>.json    as on a disk; about.json comes last
$EMMA_TUNE_CACHE/<root's hash>/images/…                                this machine's copy, made when first read
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upath import UPath

from emma_tune.data.cache import (
    Cached,
    ImageCache,
    Source,
    content_of,
    mapped,
    note_of,
    noted,
    plain_name,
    with_stats,
)
from emma_tune.data.images import ImageSet
from emma_tune.data.source import DataError
from emma_tune.storage import Patience, Place, is_local, storage_at

COPIES = "EMMA_TUNE_CACHE"
"""The environment's folder of copies; ~/.cache/emma_tune when left out."""

PATIENCE = Patience(120.0)


def image_cache(root: Place) -> ImageCache:
    """The decoded images of a store."""
    return ImageCache(root) if is_local(root) else MirroredImages(root)


def copies() -> Path:
    """Where this machine keeps its copies of images that lie in object stores."""
    return Path(os.environ.get(COPIES) or Path.home() / ".cache" / "emma_tune")


def copy_of(root: UPath) -> Path:
    """Where this machine keeps its copy of a store's images."""
    return copies() / hashlib.sha256(str(root).encode()).hexdigest()[:16]


class MirroredImages(ImageCache):
    """Decoded images that are kept in an object store; what counts is what lies there.

    Args:
        root: of the store.
    """

    def __init__(self, root: UPath) -> None:
        super().__init__(copy_of(root))
        self._there = storage_at(root, PATIENCE)

    def known(self, source: Source) -> Cached | None:
        try:
            cached = noted(self._there.read(self._note_there(source)))
            return cached if self._counts(cached.fingerprint) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _counts(self, fingerprint: str) -> bool:
        """Whether the arrays are there: what says so was put last."""
        try:
            return {"parts", "files"} <= set(json.loads(self._there.read(_about(fingerprint))))
        except (FileNotFoundError, ValueError, TypeError):
            return False

    def load(self, fingerprint: str) -> dict[str, ImageSet]:
        if not self._is_whole(fingerprint):
            self._copy(fingerprint)
        return self._mapped(fingerprint)

    def _remember(self, source: Source, cached: Cached) -> None:
        folder = self._images / cached.fingerprint
        if not self._counts(cached.fingerprint):
            for file in sorted(folder.iterdir()):
                if file.name != "about.json":
                    self._there.upload(file, f"images/{cached.fingerprint}/{file.name}")
            self._there.write(_about(cached.fingerprint), (folder / "about.json").read_bytes())
        self._there.write(self._note_there(source), json.dumps(note_of(cached)).encode())

    def _note_there(self, source: Source) -> str:
        return f"images/sources/{source.id}.json"

    def _copy(self, fingerprint: str) -> None:
        """Copies arrays here; the processes of a machine wait for each other, and copy once."""
        self._images.mkdir(parents=True, exist_ok=True)
        with (self._images / f"{fingerprint}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_whole(fingerprint):
                return
            with self._incoming() as incoming:
                if not self._counts(fingerprint):
                    raise DataError(
                        f"{self._there.root}/images/{fingerprint}: expected decoded images, found none; run the "
                        "study again, which decodes them"
                    )
                about = json.loads(self._there.read(_about(fingerprint)))
                for name in about["files"]:
                    self._there.download(f"images/{fingerprint}/{plain_name(name)}", incoming / name)
                if not _is_what_was_written(incoming, about, fingerprint):  # before anybody can map it
                    self._there.remove(_about(fingerprint))  # they do not count any more
                    raise DataError(
                        f"{self._there.root}/images/{fingerprint}: expected the arrays that were written, found "
                        "changed ones; run the study again, which decodes them anew"
                    )
                with_stats(incoming, about)
                folder = self._images / fingerprint
                if folder.exists():
                    shutil.rmtree(folder)
                incoming.rename(folder)


def _is_what_was_written(folder: Path, about: Mapping[str, Any], fingerprint: str) -> bool:
    try:
        return content_of(mapped(folder, about)) == fingerprint
    except (OSError, EOFError, ValueError, KeyError, TypeError, AssertionError):
        return False


def _about(fingerprint: str) -> str:
    return f"images/{plain_name(fingerprint)}/about.json"
