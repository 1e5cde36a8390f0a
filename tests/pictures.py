"""Test images: arrays as training reads them, random photographs, and trees of image files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet


def as_images(pixels: Tensor) -> Images:
    """Wrap images (N, C, H, W) uint8 for a learner."""
    return Images(ImageSet(pixels.cpu().numpy()), pixels.device)


def photograph(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Draw (H, W, C) uint8, or (H, W) of one channel: large soft shapes under fine grain, by a seed."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (4, 5, channels), dtype=np.uint8)
    layers = [
        np.asarray(Image.fromarray(coarse[..., channel]).resize((width, height), Image.Resampling.BICUBIC))
        for channel in range(channels)
    ]
    grain = chance.normal(0, 12, (height, width, channels))
    pixels = np.clip(np.stack(layers, axis=-1) + grain, 0, 255).astype(np.uint8)
    return pixels if channels > 1 else pixels[..., 0]


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write an image in the format of its suffix, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def class_tree(
    folder: Path, parts: Mapping[str, Mapping[str, int]], *, side: int = 8, suffix: str = ".png"
) -> Path:
    """Write a tree `<part>/<class>/<number>.png` with this number of images in each class, no two the same."""
    seed = 0
    for part, classes in parts.items():
        for name, count in classes.items():
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                save(folder / part / name / f"{number}{suffix}", photograph(seed, side, side))
    return folder
