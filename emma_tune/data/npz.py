"""The user's own arrays, in one .npz file, named as in MedMNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet
from emma_tune.data.source import DataError, Found, Part

PART_PREFIXES = {"train": "train", "val": "validation", "test": "test"}


def find_arrays(file: Path) -> Found | None:
    """Find a file of `{train,val,test}_images` and `…_labels`, or of `images` alone.

    Images are uint8 of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3; labels whole numbers from 0.
    """
    return Found(lambda: _read(file), file, (file,)) if file.is_file() else None


def _read(file: Path) -> dict[str, Part]:
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("an entry that is no array")
    except Exception as error:  # damaged files raise errors of many kinds
        raise DataError(
            f"{file}: expected arrays in a .npz file, found none that can be read ({error})"
        ) from error
    parts: dict[str, Part] = {}
    for prefix, part in PART_PREFIXES.items():
        if f"{prefix}_images" in arrays:
            where = f"{file}: {prefix}_"
            images = _images(arrays[f"{prefix}_images"], where)
            labels = _labels(arrays.get(f"{prefix}_labels"), len(images), where)
            parts[part] = ImageSet(images, labels, _names(prefix, len(images)))
    if "images" in arrays:
        images = _images(arrays["images"], f"{file}: ")
        parts["queries"] = ImageSet(images, None, _names("images", len(images)))
    if not parts:
        raise DataError(
            f"{file}: expected images, or train_images, train_labels, test_images and test_labels, "
            f"found {', '.join(arrays) or 'nothing'}"
        )
    return parts


def _images(array: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise DataError(f"{where}images: expected uint8 of three or four axes, found {array.dtype} {array.shape}")
    images = array.astype(np.uint8, copy=False)
    if images.ndim == 3:
        return images[:, None]
    if images.shape[1] in (1, 3):
        return images
    if images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    raise DataError(f"{where}images: expected one or three channels, found shape {array.shape}")


def _labels(array: NDArray[np.generic] | None, count: int, where: str) -> NDArray[np.int64] | None:
    if array is None:
        return None
    labels = array.reshape(-1)
    if len(labels) != count or labels.dtype.kind not in "iu":
        raise DataError(f"{where}labels: expected {count} whole numbers from 0, found {array.dtype} {array.shape}")
    whole = labels.astype(np.int64)  # numbers beyond it turn negative
    if count and whole.min() < 0:
        row = int(np.argmax(whole < 0))
        raise DataError(f"{where}labels: expected whole numbers from 0, found {labels[row]} in row {row}")
    return whole


def _names(part: str, count: int) -> NDArray[np.str_]:
    return np.array([f"{part}/{row}" for row in range(count)])
