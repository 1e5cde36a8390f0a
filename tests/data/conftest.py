"""A tree of labeled images, and a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from emma_tune.data.cache import ImageCache
from tests.data.cached import TREE
from tests.pictures import class_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return class_tree(tmp_path / "tree", TREE)


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "store")
