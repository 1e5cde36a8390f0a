"""Images: what data sets there are, by the name a study gives them. Nothing is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from emma_tune.data.table import DATASETS, PREFIXES, DataSet, dataset

if TYPE_CHECKING:
    from emma_tune.data.source import Found

__all__ = ["DATASETS", "PREFIXES", "DataSet", "dataset", "find"]


def find(name: str, root: Path | None) -> Found | None:
    """Looks for a data set.

    Args:
        name: one of `DATASETS`, or `folder:PATH` or `npz:PATH`.
        root: the data root, if there is one.

    Returns:
        What was found; None if it is not there.

    Raises:
        DataError: if it is there and not what it should be.
    """
    module, _, function = dataset(name).find.partition(":")
    finder = cast("Callable[..., Found | None]", getattr(import_module(module), function))
    prefix, _, place = name.partition(":")
    return finder(Path(place)) if prefix in PREFIXES else finder(root)
