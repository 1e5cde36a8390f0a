"""What every fault needs: chance that can be repeated, and undisturbed copies to compare with."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emma_tune.storage.store import Store
from tests.faults.machines import Machines
from tests.integration.conftest import faulty  # noqa: F401 - a fixture

LONGER: dict[str, Any] = {
    "victim": {"epochs": 12},
    "surrogate": {"epochs": 4},
    "defense": {"epochs": 6, "min_change": 0},
    "attackers": {"soft": {"epochs": 30}, "hard": {"epochs": 30}},
    "baselines": ["none"],
    "search": {"points": 1},
}
"""Changes of the tiny study: with workers that are `Slow`, attackers of a quarter of a minute. Shorter ones would
be done by the first node before a worker of another one has started."""


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
    """Artifacts made without Ray and without faults, for all tests: who finishes one first has made it for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of all workers
    return Store(folder / "undisturbed")


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machines]]:
    """Starts clusters, `machines(1, 2)`: a head without CPUs, and nodes with so many."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    started: list[Machines] = []

    def start(*cpus: int) -> Machines:
        started.append(Machines(*cpus))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()
