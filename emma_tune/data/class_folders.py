"""Trees with a folder for each class: official sets in that form, and the user's own images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emma_tune.data.files import Files
from emma_tune.data.layouts import has_classes, layout_of
from emma_tune.data.listing import LeftOut, Listing, is_folder, is_stray, named, sorted_entries
from emma_tune.data.source import DataError, Found, Part

IMAGENET_CUB200_LIMIT, IMAGENET_CUB200_SEED = 30_000, 1


def find_labeled(folder: Path) -> Found | None:
    """Find a tree `{train,test}/<class>/…`, perhaps with `validation`."""
    layout = layout_of(folder)
    if "train" not in layout.places:
        return None
    remarks = list(layout.remarks)
    return Found(lambda: _labeled(folder, layout.places, remarks), folder, remarks=remarks)


def find_pool(folder: Path) -> Found | None:
    """Find all images below a folder, or below its `train` if it has one."""
    if not folder.is_dir():
        return None
    inside = folder / "train" if (folder / "train").is_dir() else folder
    remarks: list[str] = []

    def read() -> Mapping[str, Part]:
        left_out = LeftOut()
        files = Files(inside, tuple(Listing(inside, left_out).names))
        remarks.extend(left_out.remarks())
        return {"queries": files}

    return Found(read, inside, remarks=remarks)


def find_own(folder: Path) -> Found | None:
    """Find the user's own images: labeled if there are classes to train on, else a pool."""
    if folder.is_file():
        raise DataError(f"{folder}: expected a folder of images, found a file; unpack it if it is an archive")
    places = layout_of(folder).places
    train = places.get("train", "")
    certain = train.lower() == "train" or "test" in places  # `training/` alone may be a class of a pool
    return find_labeled(folder) if train and certain and has_classes(folder / train) else find_pool(folder)


def caltech256(root: Path | None) -> Found | None:
    """Find Caltech-256 (Griffin et al. 2007), all 257 folders."""
    return _first_pool(root, "256_ObjectCategories", "caltech256/256_ObjectCategories", "caltech256")


def imagenet_cifar10(root: Path | None) -> Found | None:
    """Find the ImageNet images of classes like CIFAR-10's."""
    return _first_pool(root, "imagenet_cifar10", "ImageNet_CIFAR10")


def imagenet_cifar100(root: Path | None) -> Found | None:
    """Find the ImageNet images of classes like CIFAR-100's."""
    return _first_pool(root, "imagenet_cifar100", "ImageNet_CIFAR100")


def imagenet_cub200(root: Path | None) -> Found | None:
    """Find the ImageNet images of birds: the first 30,000 of a fixed shuffle, about as many as in Caltech-256."""
    found = _first_pool(root, "imagenet_cub200", "ImageNet_CUB200")
    if found is None:
        return None

    def cut() -> Mapping[str, Part]:
        part = found.parts["queries"]
        order = np.random.RandomState(IMAGENET_CUB200_SEED).permutation(len(part))  # the reference's generator
        return {"queries": part.take(np.sort(order[:IMAGENET_CUB200_LIMIT]))}

    return Found(cut, found.place, remarks=found.remarks)


def _first_pool(root: Path | None, *places: str) -> Found | None:
    founds = (find_pool(root / place) for place in places) if root else ()
    return next((found for found in founds if found), None)


class _PartFolder:
    """The classes of a part, by the normal form of their names; macOS writes é in two characters, others in one.

    Attributes:
        place: name of the folder.
        classes: images of each class, in the order of the names as written.
        written: names of the folders of each class.
        outside: images that lie in no folder of a class, with the folder's name.
    """

    def __init__(self, folder: Path, place: str, left_out: LeftOut) -> None:
        self.place = place
        entries: dict[str, list[os.DirEntry[str]]] = {}
        others: list[os.DirEntry[str]] = []
        for entry in sorted_entries(os.path.realpath(folder / place)):
            if not is_folder(entry):
                others.append(entry)
            elif is_stray(entry.name):
                left_out.folders.append(f"{place}/{entry.name}")
            else:
                entries.setdefault(unicodedata.normalize("NFC", entry.name), []).append(entry)
        self.written = {name: [entry.name for entry in of] for name, of in entries.items()}
        self.classes = {name: Listing(folder / place, left_out, f"{place}/", of) for name, of in entries.items()}
        outside = Listing(folder / place, left_out, f"{place}/", others).names
        self.outside = [f"{place}/{name}" for name in outside]

    def images(self, name: str) -> list[str]:
        """Return the images of a class."""
        return self.classes[name].names if name in self.classes else []

    def in_two_classes(self) -> list[str]:
        """Return the images that links put into a second class."""
        if not any(listing.linked for listing in self.classes.values()):
            return []
        first: dict[str, str] = {}
        images = [(listing.real_path(name), name) for listing in self.classes.values() for name in listing.names]
        same = ((first.setdefault(place, name), name) for place, name in images)
        return [f"{self.place}/{name} is {self.place}/{other}" for other, name in same if other != name]


def _labeled(folder: Path, places: Mapping[str, str], remarks: list[str]) -> dict[str, Part]:
    left_out = LeftOut()
    parts = {part: _PartFolder(folder, place, left_out) for part, place in places.items()}
    train = parts["train"]
    labels = {name: label for label, name in enumerate(name for name in train.classes if train.images(name))}
    remarks += left_out.remarks() + _remarks(parts, labels)
    return {part: _files(folder / of.place, of, labels) for part, of in parts.items()}


def _files(root: Path, part: _PartFolder, labels: Mapping[str, int]) -> Files:
    """Label images by their class: its place among those that are trained on, −1 for any other."""
    order = [*labels, *(name for name in part.classes if name not in labels)]
    pairs = [(image, labels.get(name, -1)) for name in order for image in part.images(name)]
    return Files(root, tuple(image for image, _ in pairs), np.array([label for _, label in pairs], dtype=np.int64))


def _remarks(parts: Mapping[str, _PartFolder], labels: Mapping[str, int]) -> list[str]:
    """Say what of the folders of classes is not as one might expect, a line each."""
    every = list(parts.values())
    forms: dict[str, set[str]] = {}
    for part in every:
        for name, written in part.written.items():
            forms.setdefault(name, set()).update(written)
    empty = [
        f"{part.place}/{name}"
        for part in every
        for name in part.classes
        if not any(other.images(name) for other in every)
    ]
    lines = {
        "folders without an image are no classes": empty,
        "images outside the folders of classes are left out": [name for part in every for name in part.outside],
        "images are in two classes": [pair for part in every for pair in part.in_two_classes()],
        "names in two Unicode forms are taken for one class": [name for name, of in forms.items() if len(of) > 1],
    }
    return [f"{line}: {named(names)}" for line, names in lines.items() if names]
