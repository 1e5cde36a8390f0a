"""Labeled images of one's own, and what the cache makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emma_tune.data import find
from emma_tune.data.cache import Cached, ImageCache, Source
from emma_tune.data.files import Files
from emma_tune.data.images import Shape

TREE = {"train": {"a": 4, "b": 3}, "test": {"a": 2, "b": 3}}
SMALL = Shape.square(8)
SEEN = Shape(3, 8, 8, view=(6, 6))


class ProgressRecorder:
    """Records the progress of decoding, but not the waiting for another process."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        if done:
            self.calls.append((done, total))


def source(folder: Path, shape: Shape = SMALL) -> Source:
    found = find(f"folder:{folder}", None)
    return Source("mine", found.stamp, lambda: found.parts, shape)


def expected(folder: Path, part: Files) -> np.ndarray:
    """What the files of `class_tree` are decoded to at their own size."""
    from PIL import Image

    return np.stack([np.asarray(Image.open(part.root / name)).transpose(2, 0, 1) for name in part.names])


def get(cache: ImageCache, wanted: Source) -> tuple[Cached, bool]:
    """What a source became, and whether it was decoded for that."""
    recorder = ProgressRecorder()
    cached = cache.get(wanted, recorder)
    return cached, bool(recorder.calls)


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
