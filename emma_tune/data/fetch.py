"""Downloads of official data sets, by torchvision's addresses and checksums."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emma_tune.data.source import DataError

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
    """Not by torchvision's own class, which would unpickle what it has downloaded."""
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    files = [
        (root / published.base_folder / name, md5) for name, md5 in published.train_list + published.test_list
    ]
    if all(check_integrity(str(file), md5) for file, md5 in files):
        return
    download_and_extract_archive(published.url, str(root), filename=published.filename, md5=published.tgz_md5)
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
    from torchvision.datasets import Caltech256

    Caltech256(str(root), download=True)


FETCHERS: dict[str, Callable[[Path], None]] = {
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "caltech256": _caltech256,
}
"""What torchvision can download."""
