"""Which data sets are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from emma_tune.data import DATASETS, PREFIXES, find
from emma_tune.data.source import DataError
from emma_tune.data.table import DataSet


class Entry(NamedTuple):
    """A line of the inventory."""

    name: str  # as a study gives it
    described: DataSet  # what it is, and how to get it
    found: str  # where, with the images in each part; empty if it is not there
    remarks: tuple[str, ...] = ()  # on what of it is left out or taken for something else


def inventory(root: Path | None) -> list[Entry]:
    """Look for every data set below a data root."""
    named = [Entry(name, described, *_found(name, root)) for name, described in DATASETS.items()]
    return named + [Entry(f"{prefix}:PATH", described, "any path") for prefix, described in PREFIXES.items()]


def _found(name: str, root: Path | None) -> tuple[str, tuple[str, ...]]:
    try:
        here = find(name, root)
        if here is None:
            return "", ()
        counts = ", ".join(f"{part} {len(images)}" for part, images in here.parts.items())
        return f"{here.place or 'in an installed package'} ({counts})", tuple(here.remarks)
    except DataError as error:
        return f"damaged: {error}", ()
