"""1. A finished artifact is never computed again, never rewritten, and never lost, whatever is killed when."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from tests.conftest import artifact_bytes, kill_tree

KILLS = int(os.environ.get("EMMA_TUNE_KILLS", "1"))
"""The short form; `EMMA_TUNE_KILLS=8 pytest -m slow` is the long one."""


@pytest.mark.slow
def test_a_study_survives_sigkill_of_everything(emma, study_file, tmp_path):
    seed = int(os.environ.get("EMMA_TUNE_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"EMMA_TUNE_KILL_SEED={seed}")
    chance = random.Random(seed)
    file = study_file(
        victim={"epochs": 20},
        queries={"limit": 1000},
        surrogate={"epochs": 8},
        defense={"epochs": 8, "min_change": 0},
        attackers={"soft": {"epochs": 8}, "hard": {"epochs": 8}},
        search={"points": 2},
    )
    folder, store = tmp_path / "runs" / "tiny", tmp_path / "runs" / "store"
    kills, before, code = 0, {}, None
    for _ in range(60):
        driver = emma.start("run", file)
        try:
            # some moments are before the first task runs, some long after
            code = driver.wait(timeout=chance.uniform(2, 8) if kills < KILLS else 120)
        except subprocess.TimeoutExpired:
            kill_tree(driver.pid)
            driver.wait()
            kills += 1
        after = artifact_bytes(store)
        # nothing that was finished is lost, and nothing was committed a second time: a record is of one moment
        assert {path: after.get(path) for path in before} == before
        before = after
        if code is not None:
            break
    output = (tmp_path / "output.log").read_text()
    assert code == 0, output
    assert kills >= KILLS, f"only {kills} kills: the study is too short for this test"
    view = StudyView(folder)
    assert status_of(view)["points"] == {
        "asked": 4, "finished": 4, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 0, "running": 0,
    }  # fmt: skip
    assert view.problems == []
    planned = {
        task.key for point in view.ledger.points.values() for task in view.planner.point(point).tasks.values()
    }
    committed = [record.parent.name for record in store.glob("*/*/record.json")]
    assert sorted(committed) == sorted(planned)
    assert not list(store.glob("partial/*/state.safetensors"))
