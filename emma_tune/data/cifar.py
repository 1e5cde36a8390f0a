"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): the official files, or the same images in class folders.

The official files are pickles. The unpickler here knows no class and no function: it builds arrays from the bytes
in the file, and refuses a file that asks for anything else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.class_folders import find_labeled
from emma_tune.data.images import ImageSet
from emma_tune.data.source import DataError, Found, Part

CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))


def cifar10(root: Path | None) -> Found | None:
    """Find 50,000 training and 10,000 test images of 32×32 in ten classes."""
    return _find(
        root, "cifar10", "cifar-10-batches-py", {"train": CIFAR10_TRAIN, "test": ("test_batch",)}, "labels"
    )


def cifar100(root: Path | None) -> Found | None:
    """Find 50,000 training and 10,000 test images of 32×32 in a hundred classes."""
    return _find(root, "cifar100", "cifar-100-python", {"train": ("train",), "test": ("test",)}, "fine_labels")


def _find(
    root: Path | None, name: str, official: str, batches: Mapping[str, tuple[str, ...]], labels: str
) -> Found | None:
    if root is None:
        return None
    folder = next((place for place in (root / official, root / name / official) if place.is_dir()), None)
    if folder is None:
        return find_labeled(root / name)
    files = {part: tuple(folder / batch for batch in of) for part, of in batches.items()}
    every = tuple(file for part in files.values() for file in part)
    missing = [file.name for file in every if not file.is_file()]
    if missing:
        raise DataError(f"{folder}: expected the official files, found no {', '.join(missing)}")
    return Found(lambda: _read(files, labels), folder, every)


def _read(files: Mapping[str, tuple[Path, ...]], labels: str) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for part, batches in files.items():
        read = [_read_batch(batch, labels) for batch in batches]
        names = [
            f"{batch.name}/{row}" for batch, (_, of) in zip(batches, read, strict=True) for row in range(len(of))
        ]
        parts[part] = ImageSet(
            np.concatenate([images for images, _ in read]), np.concatenate([of for _, of in read]), np.array(names)
        )
    return parts


def _read_batch(file: Path, labels: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        images = content["data"].array().reshape(-1, 3, 32, 32)
        of = np.array(content[labels], dtype=np.int64)
    except Exception as error:  # damaged files raise errors of many kinds
        raise DataError(f"{file}: expected a batch of CIFAR images, found another file ({error})") from error
    if len(of) != len(images):
        raise DataError(f"{file}: expected a label for each of {len(images)} images, found {len(of)}")
    return images, of


class _Array:
    """Stands for a pickled array: shape, type and bytes."""

    dtype: _DType
    shape: tuple[int, ...] = ()
    content: Any = b""
    order: str = "C"

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, in_columns, self.content = state
        self.order = "F" if in_columns else "C"

    @staticmethod
    def from_buffer(content: Any, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
        array = _Array()
        array.content, array.dtype, array.shape, array.order = content, dtype, shape, order
        return array

    def array(self) -> NDArray[np.uint8]:
        if self.dtype.code.lstrip("|") not in ("u1", "B"):
            raise ValueError(f"expected bytes, found type {self.dtype.code}")
        # Python 3 writes bytes for Python 2 as text
        content = self.content.encode("latin-1") if isinstance(self.content, str) else bytes(self.content)
        in_order = np.frombuffer(content, dtype=np.uint8)
        return in_order.reshape(self.shape[::-1]).T if self.order == "F" else in_order.reshape(self.shape)


class _DType:
    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, _: Any) -> None:
        """Ignore byte order and padding, which bytes do not have."""


STAND_INS = {
    "_reconstruct": lambda *_: _Array(),
    "_frombuffer": _Array.from_buffer,
    "ndarray": _Array,
    "dtype": _DType,
    "encode": lambda text, _: text,
}
"""For the names in a pickled array: NumPy's, and the codec with which Python 3 writes bytes for Python 2."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in STAND_INS:
            raise pickle.UnpicklingError(f"a pickle that asks for {module}.{name}")
        return STAND_INS[name]
