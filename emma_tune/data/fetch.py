"""Downloads of official data sets, by torchvision's addresses and checksums."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from emma_tune.data.archives import unpack
from emma_tune.data.source import DataError

CALTECH256 = (
    "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
    "67b4f42ca05d46448c6bb8ecd2220f6d",
)
"""Address and checksum, which torchvision has in a function only."""

RETRY_PAUSES = (1.0, 2.0)
"""Seconds between two attempts."""


def fetch(name: str, root: Path) -> None:
    """Download one of `FETCHERS` to below the data root, verify its checksums and unpack it, unless it is there.

    Raises:
        DataError: if it cannot be downloaded, or is not what was published.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for pause in RETRY_PAUSES:
            try:
                return FETCHERS[name](root)
            except OSError:
                time.sleep(pause)
        FETCHERS[name](root)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        raise DataError(f"{name}: expected a download to {root}, found {error}") from error


def _cifar(root: Path, name: str) -> None:
    """Download CIFAR, but not by torchvision's class, which would unpickle it, and unpack it unchecked."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    published = getattr(datasets, name)
    files = [
        (root / published.base_folder / file, md5) for file, md5 in published.train_list + published.test_list
    ]
    if all(check_integrity(str(file), md5) for file, md5 in files):
        return
    _download_and_unpack(published.url, published.tgz_md5, root / published.base_folder)
    for file, md5 in files:
        if not check_integrity(str(file), md5):
            raise DataError(f"{file}: expected the published file, found one of another checksum")


def _caltech256(root: Path) -> None:
    folder = root / "caltech256" / "256_ObjectCategories"
    if not folder.is_dir():
        _download_and_unpack(*CALTECH256, folder)


def _download_and_unpack(url: str, md5: str, folder: Path) -> None:
    """Download an archive, keep it beside `folder`, and unpack the folder of this name in it."""
    from torchvision.datasets.utils import download_url

    archive = folder.with_name(url.rpartition("/")[2])
    download_url(url, str(archive.parent), filename=archive.name, md5=md5)
    unpack(archive, folder)


FETCHERS: dict[str, Callable[[Path], None]] = {
    "cifar10": partial(_cifar, name="CIFAR10"),
    "cifar100": partial(_cifar, name="CIFAR100"),
    "caltech256": _caltech256,
}
"""The data sets that torchvision can download."""
