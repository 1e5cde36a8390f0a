"""Answers in a file: matched with the images of a study by name, or by the fingerprints of their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import FEW_PER_CLASS, ImageSet, few_of_each
from emma_tune.data.listing import named
from emma_tune.data.source import Part

if TYPE_CHECKING:
    from torch import Tensor

OF_VICTIM = ("labeled", "validation", "test", "train")
"""Parts in which answers to labeled images may stand; those to the pool are in `queries`."""

SomePart = TypeVar("SomePart", ImageSet, Part)

Rows = Mapping[str, NDArray[Any]]
"""`posteriors` (N, K) of some images, and `names` or `fingerprints` of them, (N,), or both."""


def read_answers(file: Path, asked: Mapping[str, ImageSet]) -> tuple[dict[str, Tensor], int, list[str]]:
    """Read posteriors of all that a victim is asked, in the order of the study's images.

    Args:
        file: .npz with `PART_posteriors` and `PART_names` or `PART_fingerprints`, in any order; further rows and
            arrays are not read.
        asked: by part, as `answered` returns it.

    Returns:
        Posteriors by part; K; and remarks.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is another one, or answers are missing, doubled, of other images, or no distributions.
    """
    arrays = _load(file)
    sources = {"queries": _rows(arrays, ("queries",)), "victim": _rows(arrays, OF_VICTIM)}
    found = {
        part: _matched(part, of, sources["queries" if part == "queries" else "victim"])
        for part, of in asked.items()
    }
    widths = {p.shape[1] for p in found.values()}
    if len(widths) > 1:
        raise ValueError(f"expected answers for as many classes in all parts, found {_and(widths)}")
    return found, widths.pop(), []


def answered(images: Mapping[str, SomePart], pool: SomePart) -> dict[str, SomePart]:
    """Return the images that a victim is asked, by part, as the stages ask them: `queries`, `labeled`, …."""
    train = images["train"]
    assert train.labels is not None, "a labeled set has labels"
    few = train.take(few_of_each(train.labels, FEW_PER_CLASS))
    return {"queries": pool, "labeled": few, **{part: images[part] for part in ("validation", "test")}}


def _load(file: Path) -> dict[str, NDArray[Any]]:
    with file.open("rb") as content:
        try:
            with np.load(content, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # damaged files raise errors of many kinds
            raise ValueError(
                f"expected arrays in {file}, found no .npz file that can be read ({error})"
            ) from error


def _rows(arrays: Mapping[str, NDArray[Any]], parts: Sequence[str]) -> Rows:
    """Join the answers of some parts."""
    there = [part for part in parts if f"{part}_posteriors" in arrays]
    if not there:
        raise ValueError(
            f"expected {' or '.join(f'{part}_posteriors' for part in parts)}, found {named(sorted(arrays))}"
        )
    joined: dict[str, list[NDArray[Any]]] = {}
    keys = [key for key in ("names", "fingerprints") if all(f"{part}_{key}" in arrays for part in there)]
    if not keys:
        raise ValueError(f"expected {there[0]}_names or {there[0]}_fingerprints, found {named(sorted(arrays))}")
    for part in there:
        for key in ("posteriors", *keys):
            joined.setdefault(key, []).append(_checked(f"{part}_{key}", arrays, part))
    try:
        return {key: np.concatenate(of) for key, of in joined.items()}
    except ValueError:
        widths = {of.shape[1] for of in joined["posteriors"]}
        raise ValueError(f"expected answers for as many classes in all parts, found {_and(widths)}") from None


def _checked(name: str, arrays: Mapping[str, NDArray[Any]], part: str) -> NDArray[Any]:
    """Return an array of the file, if it has the type and the axes that it must have."""
    array, rows = arrays[name], len(arrays[f"{part}_posteriors"])
    if name.endswith("_posteriors"):
        if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2:
            raise ValueError(
                f"expected {name} of shape (images, classes), found {array.dtype} {tuple(array.shape)}"
            )
        return array.astype(np.float32)
    if array.shape != (rows,) or array.dtype.kind not in "US":
        raise ValueError(f"expected {name} with {rows} texts, found {array.dtype} {tuple(array.shape)}")
    return array.astype(str)


def _matched(part: str, images: ImageSet, rows: Rows) -> Tensor:
    """Return the answers to images in their order, (N, K), after checking them."""
    import torch

    from emma_tune.data.batches import image_fingerprints
    from emma_tune.stages.asking import no_distribution

    prints = image_fingerprints(images) if "fingerprints" in rows else None
    chosen = _found(part, images, prints, rows)
    answers = rows["posteriors"][chosen]
    sums = answers.sum(axis=1, dtype=np.float64).astype(np.float32)
    wrong = no_distribution(answers, sums)
    if wrong is not None:
        row, found = wrong
        raise ValueError(f"expected distributions, found {found} for image {_names(images)[row]} of {part}")
    exact = abs(sums - 1) < 1e-5
    scaled = np.where(exact[:, None], answers, answers / sums[:, None])
    return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))


def _found(part: str, images: ImageSet, prints: NDArray[np.str_] | None, rows: Rows) -> NDArray[np.intp]:
    """Return which row answers each image: that of its name, else that of its fingerprint."""
    by_name = _index(part, "names", images.names, rows)
    by_print = _index(part, "fingerprints", prints, rows)
    names = _names(images)
    chosen, missing, other = np.full(len(images), -1), [], []
    for place, name in enumerate(names):
        row = by_name.get(str(name), -1)
        if row < 0 and prints is not None:
            row = by_print.get(str(prints[place]), -1)
        elif prints is not None and rows["fingerprints"][row] != prints[place]:
            other.append(name)
        chosen[place] = row
        if row < 0:
            missing.append(name)
    for what, of in (("none", missing), ("those to other pixels", other)):
        if of:
            expected = f"expected answers to the {len(images):,} images of {part}"
            raise ValueError(f"{expected}, found {what} for {len(of):,}: {named(of)}")
    return chosen


def _index(part: str, key: str, wanted: NDArray[np.str_] | None, rows: Rows) -> dict[str, int]:
    """Return the row of each name or fingerprint; one that is wanted may not have two different answers."""
    if key not in rows or wanted is None:
        return {}
    index: dict[str, int] = {}
    of_part, doubled = set(wanted.tolist()), []
    for row, name in enumerate(rows[key].tolist()):
        first = index.setdefault(name, row)
        if first != row and name in of_part and not np.array_equal(*rows["posteriors"][[first, row]]):
            doubled.append(name)
    if doubled:
        raise ValueError(
            f"expected one answer to each image of {part}, found several for {len(set(doubled)):,}: "
            f"{named(sorted(set(doubled)))}"
        )
    return index


def _names(images: ImageSet) -> list[str]:
    return [str(row) for row in range(len(images))] if images.names is None else images.names.tolist()


def _and(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))
