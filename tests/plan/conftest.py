"""Where materials are found and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from emma_tune.storage.store import Store
from tests.pictures import class_tree, photograph, save
from tests.plan.prepared import SIDE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def birds(tmp_path: Path) -> str:
    """Labeled images of one's own."""
    tree = {"train": {"crow": 5, "tit": 4, "wren": 3}, "test": {"crow": 2, "tit": 2, "wren": 2}}
    return f"folder:{class_tree(tmp_path / 'birds', tree, side=SIDE)}"


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """Images of another size, higher than wide."""
    for number in range(7):
        save(tmp_path / "pool" / f"{number}.png", photograph(100 + number, 40, 24))
    return f"folder:{tmp_path / 'pool'}"
