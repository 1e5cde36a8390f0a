"""Images in files: decoded into one array on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import Shape

if TYPE_CHECKING:
    from PIL import Image

FILES_PER_CHUNK = 64
"""Files that a thread decodes between two reports of progress."""

DecodeCallback = Callable[[int, int], None]
"""Called with the number of images decoded so far, and of all; may raise to give up."""


@dataclass(frozen=True)
class Files:
    """Images in files, one in each."""

    root: Path
    names: tuple[str, ...]  # paths below the root, with slashes
    labels: NDArray[np.int64] | None = None  # (N,) in [0, K)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def stamp(self) -> str:
        """Text that changes whenever one of the files, or its label, may have."""
        labels = [None] * len(self) if self.labels is None else self.labels.tolist()
        files = zip(self.names, labels, strict=True)
        return "\n".join(f"{stamp_of(self.root / name)} {label}" for name, label in files)

    def take(self, indices: NDArray[np.integer]) -> Files:
        """Return some of the files, in the given order."""
        labels = None if self.labels is None else self.labels[indices]
        return Files(self.root, tuple(self.names[index] for index in indices), labels)


@dataclass(frozen=True)
class BadImage:
    """A file that cannot be read as an image, and why."""

    file: str
    why: str


def decode(files: Files, shape: Shape, out: NDArray[np.uint8], report: DecodeCallback) -> dict[int, BadImage]:
    """Decode files into the rows of an array, on all cores.

    Args:
        files: N images of any size, gray, with a palette or in color.
        shape: what they are brought to: the center in the wanted proportions, resized (bilinear, antialiased).
        out: (N, C, H, W), written.
        report: called with the progress.

    Returns:
        The images that cannot be read, by their row.
    """
    bad: dict[int, BadImage] = {}

    def decode_chunk(rows: range) -> int:
        for row in rows:
            path = files.root / files.names[row]
            try:
                out[row] = _decoded(path, shape)
            except Exception as error:  # Pillow's plugins raise errors of every kind
                bad[row] = BadImage(str(path), f"{type(error).__name__}: {error}".replace(str(path), "the file"))
        return len(rows)

    count = len(files)
    chunks = [range(start, min(start + FILES_PER_CHUNK, count)) for start in range(0, count, FILES_PER_CHUNK)]
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        try:
            for decoded in pool.map(decode_chunk, chunks):
                done += decoded
                report(done, count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return dict(sorted(bad.items()))


def _decoded(path: Path, shape: Shape) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        size = (shape.width, shape.height)
        pixels = _in_eight_bits(image).convert("RGB" if shape.channels == 3 else "L")
        if pixels.size != size:
            pixels = ImageOps.fit(pixels, size, method=Image.Resampling.BILINEAR)
    array = np.asarray(pixels, dtype=np.uint8)
    return array.transpose(2, 0, 1) if shape.channels == 3 else array[None]


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale gray images of sixteen bits: Pillow's conversion would make everything above 255 white."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("expected whole numbers for pixels, found fractions")
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8))


def stamp_of(path: Path) -> str:
    """Return a text that changes whenever a file may have: its path, size and time of change."""
    try:
        found = path.stat()
        return f"{path} {found.st_size} {found.st_mtime_ns}"
    except OSError:
        return f"{path} absent"
