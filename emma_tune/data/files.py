"""Images in files: decoded into one array on all cores."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import Shape
from emma_tune.data.pixels import Seen, Traits, decode_file

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


def decode(
    files: Files, shape: Shape, out: NDArray[np.uint8], report: DecodeCallback, seen: Seen
) -> dict[int, BadImage]:
    """Decode files into the rows of an array, on all cores.

    Args:
        files: N images.
        shape: what they are brought to.
        out: (N, C, H, W), written.
        report: called with the progress.
        seen: how deep pixels are scaled, and what they are laid on; what is remarkable is added to it.

    Returns:
        The images that cannot be read, by their row.
    """
    bad: dict[int, BadImage] = {}

    def decode_chunk(rows: range) -> list[tuple[str, Traits]]:
        decoded = []
        for row in rows:
            path = files.root / files.names[row]
            try:
                out[row], traits = decode_file(path, shape, seen.depth, seen.background)
            except Exception as error:  # Pillow's plugins raise errors of every kind
                bad[row] = BadImage(str(path), f"{type(error).__name__}: {error}".replace(str(path), "the file"))
            else:
                decoded.append((files.names[row], traits))
        return decoded

    count = len(files)
    chunks = [range(start, min(start + FILES_PER_CHUNK, count)) for start in range(0, count, FILES_PER_CHUNK)]
    # decoders release the interpreter's lock; what they think of metadata is of no use to a user
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings(action="ignore"):
        try:
            for rows, decoded in zip(chunks, pool.map(decode_chunk, chunks), strict=True):
                for name, traits in decoded:
                    seen.add(name, traits)
                report(rows.stop, count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return dict(sorted(bad.items()))


def stamp_of(path: Path) -> str:
    """Return a text that changes whenever a file may have: its path, size and time of change."""
    try:
        found = path.stat()
        return f"{path} {found.st_size} {found.st_mtime_ns}"
    except OSError:
        return f"{path} absent"
