"""Whether a victim can be trained on labeled images: their shapes, the limit, and the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.listing import named
from emma_tune.data.source import Part
from emma_tune.study import Study
from emma_tune.study.file import StudyError

LABELS_TO_A_CLASS = 3
"""Most labels, from 0 to the largest, for each that occurs: a larger one is a mistake and not a class."""


def check_alike(parts: Mapping[str, Part], *, any_size: bool) -> None:
    """Raise StudyError unless arrays have the same number of channels in all parts, and a size if it matters."""
    shapes = {name: part.shape for name, part in parts.items() if isinstance(part, ImageSet)}
    if not shapes:
        return
    first = shapes["train"]
    for name, shape in reversed(shapes.items()):  # what validates may be half of what tests
        if shape.channels != first.channels or not (any_size or shape == first):
            hint = "; with victim.image_size all are brought to one" if shape.channels == first.channels else ""
            raise StudyError(
                f"victim.dataset: expected images of one size and color in all parts, found {_outline(first)} in "
                f"train and {_outline(shape)} in {name}{hint}"
            )


def _outline(shape: Shape) -> str:
    return f"{shape.height}×{shape.width} {'gray' if shape.channels == 1 else 'color'}"


def check_limit(limit: int | None, classes: int) -> None:
    """Raise StudyError unless a victim may be trained on an image of each class."""
    if limit is not None and limit < classes:
        raise StudyError(f"victim.limit: expected {classes} images at least, one of each class, found {limit}")


def check_rank(study: Study, classes: int) -> None:
    """Raise StudyError if a matrix of K classes is to have a rank above K, or one that who inverts it can undo."""
    ranks = study.search.space.dimensions.get("rank")
    if not ranks:
        return
    expected, largest = "", ranks.bounds[1]
    if largest > classes:
        expected = f"at most {classes}, one for each class"
    elif largest == classes and "inverse" in study.defense.against:
        reason = "since the inverse of a T of full rank gives p back"
        expected = f"less than {classes} beside defense.against.inverse, {reason}"
    if expected:
        raise StudyError(f"search.space.rank: expected {expected}, found {largest:g}")


def check_labels(parts: Mapping[str, Part]) -> list[str]:
    """Check the labels that a victim is trained on and tested with; return remarks on those that lack images.

    Raises:
        StudyError: unless two classes at least, numbered without large gaps, have images to train, and no others
            have images.
    """
    classes = {name: np.unique(_labels(part)) for name, part in parts.items()}
    trained = classes["train"]
    if len(trained) < 2:
        raise StudyError(f"victim.dataset: expected two classes at least, found {len(trained)}")
    end = LABELS_TO_A_CLASS * len(trained)
    for name, of in classes.items():
        for wrong in of[(of < 0) | (of >= end)][:1]:
            raise StudyError(
                f"victim.dataset: expected labels 0 … {end - 1} for {len(trained)} classes, "
                f"found {_first(parts[name], wrong)}"
            )
        for unknown in np.setdiff1d(of, trained)[:1]:
            raise StudyError(
                f"victim.dataset: expected classes that have images to train, found {_first(parts[name], unknown)}"
            )
    return _lacking(parts, classes)


def _lacking(parts: Mapping[str, Part], classes: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Return remarks on labels without images to train, and without images to test or to validate."""
    trained = classes["train"]
    last = int(trained[-1])
    empty = np.setdiff1d(np.arange(last), trained)
    untested = np.setdiff1d(trained, np.concatenate([of for name, of in classes.items() if name != "train"]))
    remarks = []
    if len(empty):
        labels = named([str(label) for label in empty])
        remarks.append(f"labels without images: {labels}; networks have an output for each of 0 … {last}")
    if len(untested):
        firsts = [_first(parts["train"], label) for label in untested]
        remarks.append(f"classes with images to train, but none to test: {named(firsts)}")
    return remarks


def _labels(part: Part) -> NDArray[np.int64]:
    assert part.labels is not None, "a labeled set has labels"
    return part.labels


def _first(part: Part, label: int) -> str:
    """Name a class by its number and its first image."""
    row = int(np.argmax(_labels(part) == label))
    return f"{label} ({row if part.names is None else part.names[row]})"
