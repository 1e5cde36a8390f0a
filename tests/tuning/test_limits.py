"""What this machine has, and what a run takes of it at first."""

from __future__ import annotations

import pytest

from emma_tune.study.file import study_of
from emma_tune.tuning.cluster import limits
from tests.conftest import TINY


@pytest.mark.parametrize(("cpus", "gibibytes", "seeds", "until", "workers"), [
    (64, 256, 1, None, limits.FIRST_WORKERS),
    (64, 256, 3, "victim", 3),
    (2, 256, 3, "victim", 2),
    (64, 1, 1, None, 2),
    (64, 0.1, 1, None, 1),
])  # fmt: skip
def test_as_many_workers_start_at_first_as_have_work_and_fit(cpus, gibibytes, seeds, until, workers, monkeypatch):
    monkeypatch.setattr(limits, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(limits, "usable_gpus", lambda: 0)
    monkeypatch.setattr(limits, "available_memory", lambda: gibibytes * 2**30)
    study = study_of({**TINY, "seeds": list(range(seeds))})
    assert limits.first_workers(study, until) == workers


def test_a_container_may_have_less_memory_than_its_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "CGROUP", tmp_path)
    whole = limits.available_memory()
    (tmp_path / "memory.max").write_text("max\n")
    assert whole > 2**20
    (tmp_path / "memory.max").write_text("1048576\n")
    assert limits.available_memory() == 2**20
