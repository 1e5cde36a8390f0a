"""Images as arrays: their fingerprint, pixel statistics, resizing, and fixed subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 16 << 20
"""Bytes that are processed at a time, since a set may be larger than memory."""

MARGIN_FROM = 128
"""Side from which images are kept an eighth larger than they are seen: 256 for 224."""


@dataclass(frozen=True)
class Shape:
    """The shape of images as they are kept, and of the center that a network sees without augmentation.

    Attributes:
        channels: 1 or 3.
        height: pixels, as kept.
        width: pixels, as kept.
        view: height and width that a network sees, not above those kept.
    """

    channels: int
    height: int
    width: int
    view: tuple[int, int]

    @staticmethod
    def square(side: int, *, channels: int = 3) -> Shape:
        """Return the shape for a network that sees `side` pixels; photographs get a margin for random crops."""
        return Shape.of(side, side, channels=channels)

    @staticmethod
    def of(height: int, width: int, *, channels: int) -> Shape:
        """Return the shape for a network that sees `height` × `width` pixels, with that margin."""
        margin = 0.875 if min(height, width) >= MARGIN_FROM else 1
        return Shape(channels, round(height / margin), round(width / margin), (height, width))

    @property
    def cropped_view(self) -> tuple[int, int] | None:
        """The view if it is smaller than the images, else None."""
        return None if self.view == (self.height, self.width) else self.view


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of pixels in [0, 1], by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ImageSet:
    """Images with or without labels; the arrays may be mapped files that are larger than memory.

    Attributes:
        images: (N, C, H, W) uint8, 0 … 255.
        labels: (N,) int64 in [0, K), or None for a query pool.
        names: (N,) text, where each came from; None if unknown.
        view: height and width of the center that a network sees; all of the image if None.
        counted: statistics that were counted before.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    names: NDArray[np.str_] | None = None
    view: tuple[int, int] | None = None
    counted: PixelStatistics | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> Shape:
        """The shape as kept and as seen."""
        _, channels, height, width = self.images.shape
        return Shape(channels, height, width, self.view or (height, width))

    @cached_property
    def statistics(self) -> PixelStatistics:
        """Statistics of all pixels kept; counted as integers, so that the order of summation cannot matter."""
        if self.counted:
            return self.counted
        counts = np.zeros((self.images.shape[1], 256), dtype=np.int64)
        for rows in chunks(self.images):
            for channel, pixels in enumerate(np.swapaxes(self.images[rows], 0, 1)):
                counts[channel] += np.bincount(pixels.ravel(), minlength=256)
        values, total = np.arange(256) / 255, counts.sum(axis=1)
        mean = counts @ values / total
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / np.maximum(total - 1, 1)
        return PixelStatistics(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))

    def take(self, indices: NDArray[np.integer]) -> ImageSet:
        """Return some of the images, in the given order."""
        labels = None if self.labels is None else self.labels[indices]
        names = None if self.names is None else self.names[indices]
        return ImageSet(self.images[indices], labels, names, self.view)


def chunks(array: NDArray[np.generic]) -> Iterator[slice]:
    """Split the rows of an array into slices of `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def fingerprint(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Name arrays by their content, 32 hexadecimal digits; names, types, shapes and bytes all count."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for rows in chunks(array):
            digest.update(np.ascontiguousarray(array[rows]).data)
    return digest.hexdigest()[:32]


def match_shape(pool: ImageSet, shape: Shape) -> ImageSet:
    """Bring arrays to the shape that a victim accepts.

    They are cropped to the wanted proportions around the center and resized (bilinear, antialiased); gray becomes
    color by repetition, color becomes gray by luma (ITU-R BT.601), as in Pillow.
    """
    have = pool.images.shape[1]
    if have != shape.channels and {have, shape.channels} != {1, 3}:
        raise ValueError(f"query pool: expected images of {shape.channels} channels, or 1 or 3, found {have}")
    images = pool.images
    if images.shape[1:] != (shape.channels, shape.height, shape.width):
        images = np.concatenate([_matched(images[rows], shape) for rows in chunks(images)])
    return ImageSet(images, pool.labels, pool.names, shape.cropped_view)


def _matched(images: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    if images.shape[1] < shape.channels:
        images = np.repeat(images, 3, axis=1)
    elif images.shape[1] > shape.channels:
        luma = np.array([0.299, 0.587, 0.114])[None, :, None, None]
        images = np.rint((images * luma).sum(axis=1, keepdims=True)).astype(np.uint8)
    wanted = (shape.height, shape.width)
    height, width = images.shape[2:]
    if (height, width) == wanted:
        return images
    import torch  # here: a run whose images are decoded already does without
    import torch.nn.functional as F

    rows = min(height, round(width * shape.height / shape.width))
    columns = min(width, round(height * shape.width / shape.height))
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = np.ascontiguousarray(images[:, :, top : top + rows, left : left + columns])
    resized = F.interpolate(torch.from_numpy(cut).float(), size=wanted, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8).numpy()


def few_of_each(labels: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Return the first `count` images of each class in the order of `subset`: sorted indices into (N,) labels."""
    order = np.random.default_rng(0).permutation(len(labels))
    firsts = [order[labels[order] == label][:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(firsts))


def subset(count: int, limit: int | None, labels: NDArray[np.integer] | None = None) -> NDArray[np.intp]:
    """Return a fixed subset of `count` images: the first `limit` of one random order, sorted; all if None.

    With labels (N,) the first image of each class in that order comes before all others, so that no class is
    missed where there may be an image of each. Where the first `limit` images miss none, they are the subset.
    """
    if limit is None or limit >= count:
        return np.arange(count)
    order = np.random.default_rng(0).permutation(count)
    if labels is not None:
        _, firsts = np.unique(labels[order], return_index=True)
        order = np.concatenate([order[np.sort(firsts)], np.delete(order, firsts)])
    return np.sort(order[:limit])
