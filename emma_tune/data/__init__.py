"""Images: the data sets by the name that a study gives them, decoding, the array cache, augmentation.

Nothing is loaded before it is used, and nothing here knows a stage, a study or Ray.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from emma_tune.data.table import DATASETS, PREFIXES, DataSet, dataset

if TYPE_CHECKING:
    from emma_tune.data.source import Found

__all__ = ["DATASETS", "PREFIXES", "DataSet", "dataset", "find"]


def find(name: str, root: Path | None) -> Found | None:
    """Find a data set of `DATASETS`, or `folder:PATH` or `npz:PATH`; raise DataError if it is damaged."""
    prefix, _, path = name.partition(":")
    found: Found | None = resolve_name(dataset(name).find)(Path(path) if prefix in PREFIXES else root)
    return found
