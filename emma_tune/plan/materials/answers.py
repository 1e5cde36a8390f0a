"""Answers in a file: matched with the images of a study by name, or by the fingerprints of their pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emma_tune.attacks import FEW_PER_CLASS
from emma_tune.data.images import ImageSet, few_of_each
from emma_tune.data.listing import named
from emma_tune.data.source import Part

if TYPE_CHECKING:
    from torch import Tensor

SOURCES = {
    "queries": ("queries",),
    "labeled": ("labeled", "train", "validation", "test"),
    "validation": ("validation", "test", "labeled", "train"),
    "test": ("test", "validation", "labeled", "train"),
}
"""Parts of a file that may have the answers to each part, its own first: others may have the same names."""

SAME = 1e-5
"""Largest difference between two answers to an image that were computed together with different other images."""

SomePart = TypeVar("SomePart", ImageSet, Part)

Rows = Mapping[str, NDArray[Any]]
"""`posteriors` (N, K) of some images, the `part` of each (N,), and `names` or `fingerprints`, (N,), or both."""


def read_answers(
    file: Path, asked: Mapping[str, ImageSet], rough: Collection[str] = ()
) -> tuple[dict[str, Tensor], int, list[str]]:
    """Read posteriors of all that a victim is asked, in the order of the study's images.

    Args:
        file: .npz with `PART_posteriors` and `PART_names` or `PART_fingerprints`, in any order; further rows and
            arrays are not read.
        asked: by part, as `answered` returns it.
        rough: parts whose pixels are not yet those of the study. Where the file has fingerprints, they are matched
            by name only, and what is not found is left out.

    Returns:
        Posteriors by part; K; and remarks.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is another one, or answers are missing, doubled, of other images, or no distributions.
    """
    arrays = _load(file)
    found = {
        part: _matched(part, of, _rows(arrays, SOURCES[part]), rough=part in rough) for part, of in asked.items()
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
        joined.setdefault("part", []).append(np.full(len(arrays[f"{part}_posteriors"]), part))
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


def _matched(part: str, images: ImageSet, rows: Rows, *, rough: bool) -> Tensor:
    """Return the answers to images in their order, (N, K), after checking them."""
    import torch

    from emma_tune.stages.asking import no_distribution

    names = np.array(_names(images))
    if rough and "fingerprints" in rows:
        chosen = _rows_of(part, "names", names, rows)
        names, chosen = names[chosen >= 0], chosen[chosen >= 0]
    else:
        chosen = _found(part, images, names, rows)
    answers = rows["posteriors"][chosen]
    sums = answers.sum(axis=1, dtype=np.float64).astype(np.float32)
    wrong = no_distribution(answers, sums)
    if wrong is not None:
        row, found = wrong
        raise ValueError(f"expected distributions, found {found} for image {names[row]} of {part}")
    exact = abs(sums - 1) < 1e-5
    scaled = np.where(exact[:, None], answers, answers / sums[:, None])
    return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))


def _found(part: str, images: ImageSet, names: NDArray[np.str_], rows: Rows) -> NDArray[np.intp]:
    """Return which row answers each image: that of its name, else that of its fingerprint."""
    from emma_tune.data.batches import image_fingerprints

    chosen = _rows_of(part, "names", names, rows)
    other = np.zeros(len(images), dtype=bool)
    if "fingerprints" in rows:
        prints, by_name = image_fingerprints(images), chosen >= 0
        other[by_name] = rows["fingerprints"][chosen[by_name]] != prints[by_name]
        chosen[~by_name] = _rows_of(part, "fingerprints", prints[~by_name], rows)
    for what, of in (("none", names[chosen < 0]), ("those to other pixels", names[other])):
        if len(of):
            expected = f"expected answers to the {len(images):,} images of {part}"
            raise ValueError(f"{expected}, found {what} for {len(of):,}: {named(of.tolist())}")
    return chosen


def _rows_of(part: str, key: str, wanted: NDArray[np.str_], rows: Rows) -> NDArray[np.intp]:
    """Return the first row of each name or fingerprint, -1 of none; its part may not have another answer to it."""
    index: dict[str, int] = {}
    of_part, doubled = set(wanted.tolist()), set()
    for row, name in enumerate(rows[key].tolist() if key in rows else ()):
        first = index.setdefault(name, row)
        if first == row or name not in of_part or rows["part"][first] != rows["part"][row]:
            continue
        if not (abs(np.subtract(*rows["posteriors"][[first, row]])) <= SAME).all():
            doubled.add(name)
    if doubled:
        raise ValueError(
            f"expected one answer to each image of {part}, found several for {len(doubled):,}: "
            f"{named(sorted(doubled))}"
        )
    return np.array([index.get(name, -1) for name in wanted.tolist()], dtype=np.intp)


def _names(images: ImageSet) -> list[str]:
    return [str(row) for row in range(len(images))] if images.names is None else images.names.tolist()


def _and(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))
