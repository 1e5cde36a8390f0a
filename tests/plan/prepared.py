"""Studies of a few images, and what is prepared for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emma_tune.data.cache import ImageCache
from emma_tune.data.images import ImageSet
from emma_tune.plan.materials import Materials, prepare
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from tests.conftest import TINY, merged

SIDE = 16


def study(labeled: str = "digits", asked: str = "mnist5k", /, **changes: Any) -> Study:
    own = {"dataset": labeled, **({"image_size": SIDE} if labeled.startswith("folder:") else {})}
    named = {"victim": own, "queries": {"dataset": asked, "limit": None}}
    return Study.model_validate(merged(merged(TINY, named), changes))


def prepared(wanted: Study, store: Store) -> tuple[Materials, dict[str, ImageSet]]:
    """What there is, and its images: train, validation, test and queries."""
    found = prepare(wanted, store, lambda name, done, total: None)
    cache = ImageCache(store.root)
    return found, {**cache.load(found.images["victim"]), **cache.load(found.images["queries"])}


def complaint(wanted: Study, store: Store) -> str:
    with pytest.raises(StudyError) as raised:
        prepare(wanted, store, lambda name, done, total: None)
    return str(raised.value)


def npz(file: Path, **changes: np.ndarray) -> str:
    """Gray arrays of one's own in three classes."""
    chance = np.random.default_rng(1)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 9), ("val", 3), ("test", 6)):
        arrays[f"{part}_images"] = chance.integers(0, 256, (count, 12, 12), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 3
    np.savez(file, **(arrays | changes))
    return f"npz:{file}"
