"""What every fault needs: chance that can be repeated, and undisturbed copies to compare with."""

from __future__ import annotations

import os
import random

import pytest

from emma_tune.store import Store


@pytest.fixture(scope="session")
def seed() -> int:
    """Of all chance in these tests; given by EMMA_TUNE_FAULT_SEED, else a new one each time."""
    return int(os.environ.get("EMMA_TUNE_FAULT_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def chance(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of one test; the seed is printed."""
    print(f"EMMA_TUNE_FAULT_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def through(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Artifacts made without Ray and without faults, for all tests of this process."""
    return Store(tmp_path_factory.mktemp("undisturbed"))
