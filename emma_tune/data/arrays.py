"""The files of decoded images: written and mapped part by part, named by their content.

<folder>/PART.images.npy, PART.labels.npy, PART.names.npy    of each part
<folder>/about.json                                          views, statistics, and size and time of every file
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from emma_tune.data.files import BadImage, DecodeCallback, decode
from emma_tune.data.images import ImageSet, PixelStatistics, Shape, chunks, fingerprint, match_shape
from emma_tune.data.pixels import WHITE, Seen
from emma_tune.data.source import Part
from emma_tune.storage.atomic import whole_file

UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, AssertionError)
"""What reading damaged or missing files raises."""


def write_images(
    part: Part, shape: Shape | None, file: Path, report: DecodeCallback, seen: Seen
) -> tuple[ImageSet, list[BadImage]]:
    """Write the images of a part to a file, decoded or resized; arrays stay as they are if the shape is None.

    What is remarkable about them is added to `seen`.

    Returns:
        The images, mapped, without those that cannot be read; and those.
    """
    if isinstance(part, ImageSet):
        seen.sizes.add((part.shape.height, part.shape.width))
        matched = match_shape(part, shape) if shape else part
        np.save(file, np.ascontiguousarray(matched.images))
        return matched, []
    assert shape is not None, "files are decoded to a shape"
    out = open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(len(part), shape.channels, shape.height, shape.width)
    )
    with file.open("rb+") as whole:  # a full disk raises here, and does not crash the process later
        os.posix_fallocate(whole.fileno(), 0, file.stat().st_size)
    bad = decode(part, shape, out, report, seen)
    good = np.setdiff1d(np.arange(len(part)), list(bad))
    if bad:
        out = _only(good, out, file)
    out.flush()
    kept = part.take(good)
    return ImageSet(out, kept.labels, np.array(kept.names), shape.cropped_view), list(bad.values())


def read_images(part: Part, shape: Shape | None, background: str = WHITE) -> ImageSet:
    """Read a part into memory, decoded or resized, without those that cannot be read.

    The pixels are those of `write_images`, but where the whole set says how many of sixteen bits it uses.
    """
    if isinstance(part, ImageSet):
        return match_shape(part, shape) if shape else part
    assert shape is not None, "files are decoded to a shape"
    out = np.empty((len(part), shape.channels, shape.height, shape.width), dtype=np.uint8)
    seen = Seen(background=background)
    good = np.setdiff1d(np.arange(len(part)), list(decode(part, shape, out, lambda done, total: None, seen)))
    kept = part.take(good)
    return ImageSet(out[good], kept.labels, np.array(kept.names), shape.cropped_view)


def _only(rows: NDArray[np.intp], array: NDArray[np.uint8], file: Path) -> np.memmap[Any, Any]:
    """Replace the array in a file by some of its rows."""
    beside = file.with_suffix(".rows")
    kept = open_memmap(beside, mode="w+", dtype=array.dtype, shape=(len(rows), *array.shape[1:]))
    for some in chunks(kept):
        kept[some] = array[rows[some]]
    beside.replace(file)
    return kept


def write_rest(folder: Path, parts: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Write labels and names beside the images, and sync all files; return the content of `about.json`."""
    about: dict[str, Any] = {"parts": {}}
    for name, part in parts.items():
        if part.labels is not None:
            np.save(folder / f"{name}.labels.npy", part.labels)
        if part.names is not None:
            np.save(folder / f"{name}.names.npy", part.names, allow_pickle=False)
        about["parts"][name] = {"view": part.view, "statistics": asdict(part.statistics)}
    for file in folder.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    return about


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write `about.json`, with size and time of change of every file."""
    about["files"] = {file.name: _stat(file) for file in folder.iterdir()}
    with whole_file(folder / "about.json") as file:
        file.write(json.dumps(about).encode())


def read_about(folder: Path) -> dict[str, Any]:
    """Read `about.json`."""
    return dict(json.loads((folder / "about.json").read_bytes()))


def map_parts(folder: Path, about: Mapping[str, Any]) -> dict[str, ImageSet]:
    """Map the parts in a folder."""
    return {name: _map_part(folder, name, part) for name, part in about["parts"].items()}


def _map_part(folder: Path, name: str, about: Mapping[str, Any]) -> ImageSet:
    def array(what: str) -> NDArray[Any] | None:
        file = folder / f"{plain_name(name)}.{what}.npy"
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None

    images = array("images")
    assert images is not None
    view = tuple(about["view"]) if about["view"] else None
    statistics = PixelStatistics(*(tuple(about["statistics"][what]) for what in ("mean", "std")))
    return ImageSet(images, array("labels"), array("names"), view, statistics)


def is_whole(folder: Path) -> bool:
    """Return whether the files are those that were written, by size and time of change, else by their content."""
    try:
        about = read_about(folder)
        if all(_stat(folder / plain_name(name)) == stat for name, stat in about["files"].items()):
            return True
        return parts_fingerprint(map_parts(folder, about)) == folder.name  # copied, perhaps
    except UNREADABLE:
        return False


def parts_fingerprint(parts: Mapping[str, ImageSet]) -> str:
    """Name images, labels and views by their content; names of images do not count."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, part in parts.items():
        arrays[f"{name}.images"] = part.images
        if part.labels is not None:
            arrays[f"{name}.labels"] = part.labels
        if part.view is not None:
            arrays[f"{name}.view"] = np.array(part.view)
    return fingerprint(arrays)


def plain_name(text: str) -> str:
    """Return a name that was read from a file; raise ValueError if it leads elsewhere."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"expected a name, found {text!r}")
    return text


def _stat(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]
