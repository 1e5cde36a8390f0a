"""Downloads of official data sets, by torchvision's addresses and checksums."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emma_tune.data.archives import unpack
from emma_tune.data.source import DataError

CALTECH256 = (
    "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
    "67b4f42ca05d46448c6bb8ecd2220f6d",
)
"""Its address and checksum, which torchvision has in a function only."""

PAUSES = (1.0, 2.0)
"""Seconds to wait before asking once more: networks fail for moments."""


def fetch(name: str, root: Path) -> None:
    """Downloads a data set to below the data root, checks its sums and unpacks it; does nothing if it is there.

    Args:
        name: one of `FETCHERS`.
        root: the data root; made if need be.

    Raises:
        DataError: if it cannot be downloaded, or is not what was published.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for pause in PAUSES:
            try:
                return FETCHERS[name](root)
            except OSError:
                time.sleep(pause)
        FETCHERS[name](root)
    except (OSError, RuntimeError) as error:  # torchvision's word for a wrong checksum is RuntimeError
        raise DataError(f"{name}: expected a download to {root}, found {error}") from error


def _cifar(root: Path, published: Any) -> None:
    """Not by torchvision's own class, which would unpickle what it has downloaded, and unpack it unchecked."""
    from torchvision.datasets.utils import check_integrity

    files = [
        (root / published.base_folder / name, md5) for name, md5 in published.train_list + published.test_list
    ]
    if all(check_integrity(str(file), md5) for file, md5 in files):
        return
    _download_and_unpack(published.url, published.tgz_md5, root / published.base_folder)
    for file, md5 in files:
        if not check_integrity(str(file), md5):
            raise DataError(f"{file}: expected the published file, found one of another checksum")


def _cifar10(root: Path) -> None:
    from torchvision.datasets import CIFAR10

    _cifar(root, CIFAR10)


def _cifar100(root: Path) -> None:
    from torchvision.datasets import CIFAR100

    _cifar(root, CIFAR100)


def _caltech256(root: Path) -> None:
    folder = root / "caltech256" / "256_ObjectCategories"
    if not folder.is_dir():
        _download_and_unpack(*CALTECH256, folder)


def _download_and_unpack(url: str, md5: str, folder: Path) -> None:
    """The folder of this name in an archive, which is kept beside it."""
    from torchvision.datasets.utils import download_url

    archive = folder.with_name(url.rpartition("/")[2])
    download_url(url, str(archive.parent), filename=archive.name, md5=md5)
    unpack(archive, folder)


FETCHERS: dict[str, Callable[[Path], None]] = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "caltech256": _caltech256,
}
"""What torchvision can download."""
