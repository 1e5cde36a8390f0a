"""How folders of images are laid out: which folder is which part of a labeled set, and what is there instead."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emma_tune.data.files import Files
from emma_tune.data.listing import is_folder, is_stray, named

PART_FOLDERS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
"""Parts of a labeled set, and the names that their folders should have."""

OTHER_NAMES = {"train": ("training",), "validation": (), "test": ("testing",)}
"""Names that are taken, too, with a remark, as are all of them in capitals."""

PART_NAMES = frozenset(name for names in (*PART_FOLDERS.values(), *OTHER_NAMES.values()) for name in names)


class Layout(NamedTuple):
    """Which folder is which part.

    Attributes:
        places: names of folders, by part.
        remarks: on folders of other names, a line each.
    """

    places: dict[str, str]
    remarks: list[str]


def layout_of(folder: Path) -> Layout:
    """Find the parts of a labeled set by the names of folders; validation images test where no others do."""
    names = _folders(folder)
    found: dict[str, list[str]] = {}
    for part, known in PART_FOLDERS.items():
        ranks = {name: rank for rank, name in enumerate((*known, *OTHER_NAMES[part]))}
        candidates = [name for name in names if name.lower() in ranks]
        if candidates:
            found[part] = sorted(candidates, key=lambda name: (name not in ranks, ranks[name.lower()]))
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    places = {part: candidates[0] for part, candidates in found.items()}
    unusual = [part for part, place in places.items() if place not in PART_FOLDERS[part]]
    remarks = [f"{places[part]}/ is taken for {part}/" for part in unusual]
    for part, (place, *others) in found.items():
        remarks += [f"{other}/ is left out, since {place}/ is taken for {part}/" for other in others]
    return Layout(places, remarks)


def has_classes(folder: Path) -> bool:
    """Return whether a folder has folders that may be those of classes."""
    return bool(_folders(folder))


def found_instead(pool: Files) -> str:
    """Say what lies where a labeled set was expected and images without labels were found."""
    inner = pool.root
    while "train" not in layout_of(inner).places and len(folders := _folders(inner)) == 1:
        inner /= folders[0]
    if inner != pool.root and "train" in layout_of(inner).places:
        return f"them in {inner}; name that folder"
    tops = _tops(pool.names)
    if not tops:
        return f"{len(pool)} images without folders of classes in {pool.root}" if pool.names else "none"
    if pool.root.name.lower() in PART_NAMES:
        return f"one part, {pool.root}; name the folder above it"
    return f"{len(pool)} images in {named(tops)}, but no train/<class>/ in {pool.root}"


def never_trained_on(part: Files, train: Files) -> list[str]:
    """Name the folders of classes in a part that the victim could not know: their label is −1."""
    assert part.labels is not None
    rows = np.flatnonzero(part.labels < 0)
    if not len(rows):
        return []
    similar = {_without_case(name): name for name in _tops(train.names)}
    found = []
    for name in _tops(part.names[row] for row in rows):
        path, other = f"{train.root.name}/{name}", similar.get(_without_case(name))
        found.append(f"{path!r} (there is {f'{train.root.name}/{other}'!r})" if other else repr(path))
    return found


def _tops(names: Iterable[str]) -> list[str]:
    """Return the topmost folders of files in folders, sorted."""
    return sorted({name.partition("/")[0] for name in names if "/" in name})


def _without_case(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry) and not is_stray(entry.name))
