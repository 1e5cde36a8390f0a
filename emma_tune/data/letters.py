"""Rendered letters: a query pool that knows nothing of digits (the knowledge-limited thief)."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.data.source import Found

COUNT = 5000
SIZE = 20
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
)


def letters(root: Path | None) -> Found:
    """Draws 5,000 Latin letters (20×20, gray, white on black) in the fonts that matplotlib ships.

    Letter, font, size, rotation and place come from one fixed seed.
    """
    return Found(_letters)


def _letters() -> dict[str, ImageSet]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(0)
    drawn = np.stack([_draw(rng, folder) for _ in range(COUNT)])[:, None]
    return {"queries": ImageSet(drawn, None, np.array([f"letters/{row}" for row in range(COUNT)]))}


def _draw(rng: np.random.Generator, folder: Path) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    letter = str(rng.choice(list(string.ascii_letters)))
    font = ImageFont.truetype(folder / str(rng.choice(FONTS)), size=int(rng.integers(15, 22)))
    middle = tuple(SIZE / 2 + rng.uniform(-1, 1, size=2))
    image = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(image).text(middle, letter, fill=255, font=font, anchor="mm")
    turned = image.rotate(float(rng.uniform(-15, 15)), resample=Image.Resampling.BILINEAR)
    return np.asarray(turned, dtype=np.uint8)
