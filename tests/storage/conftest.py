"""Stores: on a disk and in an object store."""

from pathlib import Path

import pytest

from emma_tune.storage import as_place
from emma_tune.storage.store import Store


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(tmp_path / "store")
    return Store(as_place(request.getfixturevalue("bucket") + "/store"))


@pytest.fixture
def on_disk(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
