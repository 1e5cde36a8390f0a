"""Decoded images in an object store, mapped from a copy on the local disk.

<root>/images/<fingerprint>/…, <root>/images/sources/<source>.json    as on a disk; about.json is put last
$EMMA_TUNE_CACHE/<hash of root>/images/…                               the copy, made when first read
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from typing_extensions import override
from upath import UPath

from emma_tune.data.arrays import UNREADABLE, is_whole, map_parts, parts_fingerprint, plain_name, write_about
from emma_tune.data.cache import Cached, ImageCache, Source
from emma_tune.data.images import ImageSet
from emma_tune.data.source import DataError
from emma_tune.storage import Patience, Place, is_local, storage_at
from emma_tune.storage.atomic import locked

COPIES = "EMMA_TUNE_CACHE"
"""Environment variable of the folder of copies; ~/.cache/emma_tune by default."""

IMAGES_PATIENCE = Patience(120.0)


def image_cache(root: Place) -> ImageCache:
    """Return the decoded images of a store."""
    return ImageCache(root) if is_local(root) else MirroredImages(root)


def copies() -> Path:
    """Return the local folder for copies of images in object stores."""
    return Path(os.environ.get(COPIES) or Path.home() / ".cache" / "emma_tune")


def copy_of(root: UPath) -> Path:
    """Return the local folder for the copy of a store's images."""
    return copies() / hashlib.sha256(str(root).encode()).hexdigest()[:16]


class MirroredImages(ImageCache):
    """Decoded images in an object store, which decides what is cached."""

    absent = FileNotFoundError  # and not a store that does not answer

    def __init__(self, root: UPath) -> None:
        self._remote = storage_at(root, IMAGES_PATIENCE)
        super().__init__(copy_of(root), self._remote)

    def _has(self, fingerprint: str) -> bool:
        """Return whether the arrays are in the object store, by the file that was put last."""
        try:
            return {"parts", "files"} <= set(json.loads(self._remote.read(_remote_about(fingerprint))))
        except (FileNotFoundError, ValueError, TypeError):
            return False

    @override
    def load(self, fingerprint: str) -> dict[str, ImageSet]:
        folder = self._folder(fingerprint)
        if not is_whole(folder):
            self._images.mkdir(parents=True, exist_ok=True)
            with locked(self._images / f"{fingerprint}.lock"):  # the processes of a machine copy once
                if not is_whole(folder):
                    self._copy(fingerprint)
        return super().load(fingerprint)

    def _remember(self, source: Source, cached: Cached) -> None:
        folder = self._folder(cached.fingerprint)
        if not self._has(cached.fingerprint):
            for file in sorted(folder.iterdir()):
                if file.name != "about.json":
                    self._remote.upload(file, f"images/{cached.fingerprint}/{file.name}")
            self._remote.write(_remote_about(cached.fingerprint), (folder / "about.json").read_bytes())
        super()._remember(source, cached)

    def _copy(self, fingerprint: str) -> None:
        """Copy arrays here; they are checked before any process can map them."""
        folder, about_file = self._folder(fingerprint), _remote_about(fingerprint)
        remote = f"{self._remote.root}/images/{fingerprint}"
        with self._incoming() as incoming:
            if not self._has(fingerprint):
                raise DataError(
                    f"{remote}: expected decoded images, found none; run the study again, which decodes them"
                )
            about = json.loads(self._remote.read(about_file))
            for name in about["files"]:
                self._remote.download(f"images/{fingerprint}/{plain_name(name)}", incoming / name)
            try:
                found = parts_fingerprint(map_parts(incoming, about))
            except UNREADABLE:
                found = "none that can be read"
            if found != fingerprint:
                self._remote.remove(about_file)
                raise DataError(
                    f"{remote}: expected the arrays that were written, found changed ones; run the study again, "
                    "which decodes them"
                )
            write_about(incoming, about)
            shutil.rmtree(folder, ignore_errors=True)
            incoming.rename(folder)


def _remote_about(fingerprint: str) -> str:
    return f"images/{plain_name(fingerprint)}/about.json"
