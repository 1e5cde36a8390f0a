"""Write a classifier's images of capital letters, 8×8, as a victim of the search benchmark may have them.

    python -m tests.benchmarks.search.letters FILE.npz

Letters are drawn as those of the `letters` pool, with labels: 26 classes, 2,600 images to train on, 520 to
validate, 520 to test.
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emma_tune.data.embedded import FONTS

PER_CLASS = {"train": 100, "val": 20, "test": 20}
DRAWN, SIDE = 24, 8


def draw(letter: str, chance: np.random.Generator) -> np.ndarray:
    """Draw one letter: (8, 8) uint8."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(fonts / str(chance.choice(FONTS)), size=int(chance.integers(20, 26)))
    center = tuple(DRAWN / 2 + chance.uniform(-1, 1, size=2))
    image = Image.new("L", (DRAWN, DRAWN))
    ImageDraw.Draw(image).text(center, letter, fill=255, font=font, anchor="mm")
    rotated = image.rotate(float(chance.uniform(-12, 12)), resample=Image.Resampling.BILINEAR)
    return np.asarray(rotated.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def labeled_letters() -> dict[str, np.ndarray]:
    """Draw all parts, from one fixed seed."""
    chance, arrays = np.random.default_rng(1), {}
    for part, count in PER_CLASS.items():
        labels = chance.permutation(np.repeat(np.arange(26), count))
        images = np.stack([draw(string.ascii_uppercase[label], chance) for label in labels])
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    return arrays


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search.letters", description=__doc__)
    parser.add_argument("file", type=Path)
    np.savez_compressed(parser.parse_args().file, **labeled_letters())


if __name__ == "__main__":
    main()
