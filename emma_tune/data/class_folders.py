"""Trees with a folder for each class: official sets in that form, and the user's own images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emma_tune.data.files import Files, images_below
from emma_tune.data.source import DataError, Found, Part

PART_FOLDERS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
"""Parts of a labeled set, and the names that their folders may have."""

IMAGENET_CUB200_LIMIT, IMAGENET_CUB200_SEED = 30_000, 1


def find_labeled(folder: Path) -> Found | None:
    """Find a tree `{train,test}/<class>/…`, perhaps with `validation`."""
    if not (folder / "train").is_dir():
        return None
    return Found(lambda: _labeled(folder), folder)


def find_pool(folder: Path) -> Found | None:
    """Find all images below a folder, or below its `train` if it has one."""
    if not folder.is_dir():
        return None
    inside = folder / "train" if (folder / "train").is_dir() else folder
    return Found(lambda: {"queries": Files(inside, tuple(images_below(inside)))}, inside)


def find_own(folder: Path) -> Found | None:
    """Find the user's own images: labeled if there are classes to train on, else a pool."""
    train = folder / "train"
    classes = train.is_dir() and any(_is_class(entry) for entry in train.iterdir())
    return find_labeled(folder) if classes else find_pool(folder)


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

    return Found(cut, found.place)


def _first_pool(root: Path | None, *places: str) -> Found | None:
    founds = (find_pool(root / place) for place in places) if root else ()
    return next((found for found in founds if found), None)


def _labeled(folder: Path) -> dict[str, Part]:
    classes = sorted(entry.name for entry in (folder / "train").iterdir() if _is_class(entry))
    parts: dict[str, Part] = {}
    for part, places in PART_FOLDERS.items():
        inside = next((folder / place for place in places if (folder / place).is_dir()), None)
        if inside is not None:
            parts[part] = _of_classes(inside, classes)
    return parts


def _of_classes(folder: Path, classes: list[str]) -> Files:
    strange = sorted(e.name for e in folder.iterdir() if _is_class(e) and e.name not in classes)
    if strange:
        raise DataError(
            f"{folder}: expected folders of classes that are trained on ({', '.join(classes[:5])}, …), "
            f"found {', '.join(strange[:5])}"
        )
    names, labels = [], []
    for label, name in enumerate(classes):
        inside = images_below(folder / name) if (folder / name).is_dir() else []  # a part may miss a class
        names += [f"{name}/{file}" for file in inside]
        labels += [label] * len(inside)
    return Files(folder, tuple(names), np.array(labels, dtype=np.int64))


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")
