"""CUB-200-2011 (Wah et al. 2011): 11,788 photographs of 200 kinds of birds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from emma_tune.data.files import Files
from emma_tune.data.source import DataError, Found, Part


def cub200(root: Path | None) -> Found | None:
    """Find the folder of the official archive, with `images/` and its lists."""
    places = [root / place for place in ("CUB_200_2011", "cub200/CUB_200_2011", "cub200")] if root else []
    folder = next((place for place in places if (place / "images.txt").is_file()), None)
    remarks: list[str] = []
    return Found(lambda: _read(folder, remarks), folder, remarks=remarks) if folder else None


def _read(folder: Path, remarks: list[str]) -> dict[str, Part]:
    """Read the official split; ids and labels start at 1 in the lists. Remarks on it are added."""
    names = _listed(folder / "images.txt")
    outside = [name for name in names.values() if name.startswith("/") or ".." in PurePosixPath(name).parts]
    if outside:
        raise DataError(f"{folder / 'images.txt'}: expected names below {folder / 'images'}, found {outside[0]!r}")
    labels = _values(folder / "image_class_labels.txt", names, "a class from 1", "[1-9][0-9]{0,5}")
    trains = _values(folder / "train_test_split.txt", names, "0 or 1", "[01]")
    every = names.keys() | labels.keys() | trains.keys()
    if len(names) < len(every):
        remarks.append(
            f"images.txt has {len(names)} of {len(every)} images of the other lists; the others are left out"
        )
    parts: dict[str, Part] = {}
    for part, flag in (("train", "1"), ("test", "0")):
        ids = [number for number in names if trains[number] == flag]
        parts[part] = Files(
            folder / "images",
            tuple(names[number] for number in ids),
            np.array([int(labels[number]) - 1 for number in ids], dtype=np.int64),
        )
    return parts


def _values(file: Path, ids: Iterable[str], wanted: str, pattern: str) -> dict[str, str]:
    """Read a list that must have a value of this pattern for each image."""
    values = _listed(file)
    wrong = [number for number in ids if not re.fullmatch(pattern, values.get(number, ""))]
    if wrong:
        raise DataError(
            f"{file}: expected {wanted} for each image, found {values.get(wrong[0], 'none')} for image {wrong[0]}"
            + (f" and {len(wrong) - 1} more that are wrong or missing" if len(wrong) > 1 else "")
        )
    return values


def _listed(file: Path) -> dict[str, str]:
    """Read a list of lines `id value`."""
    try:
        lines = [line.split(maxsplit=1) for line in file.read_text().splitlines() if line.strip()]
        return {number: value.strip() for number, value in lines}
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: expected a list of lines `id value`, found none that can be read") from error
