"""The table of data sets: by name, how each is found, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSet:
    """A data set that a study can name.

    Attributes:
        find: `module:function` of `(data root or None) -> Found | None`; of `(path) -> …` for the user's own.
        labeled: whether a victim can be trained on it; otherwise it is a query pool only.
        side: pixels that a victim's network sees; None if the arrays, or the study, determine it.
        classes: how many; None for a pool, and for the user's own.
        counts: images by part as published, for estimates before they are downloaded.
        place: where to put it below the data root; empty if it comes with an installed package.
        get: how to get it.
    """

    find: str
    labeled: bool
    side: int | None = None
    classes: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    place: str = ""
    get: str = "comes with an installed package"


FROM_THE_REFERENCE = "linked from the README of the method's reference implementation (github.com/wu-dd/EMMA)"

DATASETS: dict[str, DataSet] = {
    "digits": DataSet(
        "emma_tune.data.embedded:digits",
        labeled=True,
        classes=10,
        counts={"train": 997, "validation": 400, "test": 400},
    ),
    "mnist5k": DataSet("emma_tune.data.embedded:mnist5k", labeled=False, counts={"queries": 5000}),
    "letters": DataSet("emma_tune.data.embedded:letters", labeled=False, counts={"queries": 5000}),
    "cifar10": DataSet(
        "emma_tune.data.cifar:cifar10",
        labeled=True,
        side=32,
        classes=10,
        counts={"train": 50_000, "validation": 5_000, "test": 5_000},
        place="cifar-10-batches-py, or cifar10/{train,test}/<class>/",
        get="emma-tune data fetch cifar10",
    ),
    "cifar100": DataSet(
        "emma_tune.data.cifar:cifar100",
        labeled=True,
        side=32,
        classes=100,
        counts={"train": 50_000, "validation": 5_000, "test": 5_000},
        place="cifar-100-python, or cifar100/{train,test}/<class>/",
        get="emma-tune data fetch cifar100",
    ),
    "cub200": DataSet(
        "emma_tune.data.cub:cub200",
        labeled=True,
        side=224,
        classes=200,
        counts={"train": 5_994, "validation": 2_897, "test": 2_897},
        place="CUB_200_2011/{images.txt,images/,…}",
        get="CUB-200-2011 from www.vision.caltech.edu/datasets/cub_200_2011, unpacked",
    ),
    "caltech256": DataSet(
        "emma_tune.data.class_folders:caltech256",
        labeled=False,
        counts={"queries": 30_607},
        place="256_ObjectCategories/<class>/, or caltech256/<class>/",
        get="emma-tune data fetch caltech256",
    ),
    "imagenet_cifar10": DataSet(
        "emma_tune.data.class_folders:imagenet_cifar10",
        labeled=False,
        place="imagenet_cifar10/{train,val}/<class>/",
        get=FROM_THE_REFERENCE,
    ),
    "imagenet_cifar100": DataSet(
        "emma_tune.data.class_folders:imagenet_cifar100",
        labeled=False,
        place="imagenet_cifar100/{train,val}/<class>/",
        get=FROM_THE_REFERENCE,
    ),
    "imagenet_cub200": DataSet(
        "emma_tune.data.class_folders:imagenet_cub200",
        labeled=False,
        counts={"queries": 30_000},
        place="imagenet_cub200/{train,val}/<class>/",
        get=FROM_THE_REFERENCE,
    ),
}

PREFIXES: dict[str, DataSet] = {
    "folder": DataSet(
        "emma_tune.data.class_folders:find_own",
        labeled=True,
        place="{train,test}/<class>/, perhaps validation/; a pool: any folder of images",
        get="your own",
    ),
    "npz": DataSet(
        "emma_tune.data.npz:find_arrays",
        labeled=True,
        place="train_images, train_labels, test_images, test_labels, perhaps val_…; a pool: images",
        get="your own",
    ),
}
"""The user's own images, as `PREFIX:PATH`."""


def dataset(name: str) -> DataSet:
    """Return the data set of a name that a study may have."""
    prefix, colon, _ = name.partition(":")
    return PREFIXES[prefix] if colon else DATASETS[name]
