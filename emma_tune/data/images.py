"""Images in memory: arrays, their fingerprint, and how a query pool is brought to a victim's shape."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageSet:
    """Images with or without labels.

    Attributes:
        images: (N, C, H, W) uint8, 0 … 255.
        labels: (N,) int64 in [0, K), or None for a query pool.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None


def fingerprint(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Names image data by its content.

    Args:
        arrays: the arrays by name; name, type, shape and bytes all count.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def match_shape(pool: ImageSet, *, channels: int, height: int, width: int) -> ImageSet:
    """Brings a query pool to the shape a victim accepts.

    Size by antialiased bilinear interpolation; gray to color by repetition, color to gray by luma
    (ITU-R BT.601), as Pillow does.

    Args:
        pool: images (N, C, H, W) with C 1 or 3.
        channels: 1 or 3.
        height: pixels.
        width: pixels.

    Returns:
        Images (N, channels, height, width).

    Raises:
        ValueError: for channels that have no meaning as gray or color.
    """
    images = pool.images
    have = images.shape[1]
    if have != channels:
        if {have, channels} != {1, 3}:
            raise ValueError(f"query pool: expected images of {channels} channels, or 1 or 3, found {have}")
        if channels == 3:
            images = np.repeat(images, 3, axis=1)
        else:
            luma = np.array([0.299, 0.587, 0.114])[None, :, None, None]
            images = np.rint((images * luma).sum(axis=1, keepdims=True)).astype(np.uint8)
    if images.shape[2:] != (height, width):
        resized = F.interpolate(
            torch.from_numpy(images).float(), size=(height, width), mode="bilinear", antialias=True
        )
        images = resized.round().clamp(0, 255).to(torch.uint8).numpy()
    return ImageSet(images)


def take_subset(pool: ImageSet, limit: int | None) -> ImageSet:
    """The fixed subset of a pool: its first `limit` images in an order that depends on nothing else.

    Args:
        pool: N images.
        limit: how many; None, or more than N, for all.
    """
    if limit is None or limit >= len(pool.images):
        return pool
    order = np.random.default_rng(0).permutation(len(pool.images))
    return ImageSet(pool.images[np.sort(order[:limit])])
