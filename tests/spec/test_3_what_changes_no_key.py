"""3. λ re-runs neither victim nor surrogate, an attacker no matrix; device, workers and paths change no key."""

from __future__ import annotations

from pathlib import Path

from emma_tune.plan import Planner, Point
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}


def tasks(file: Path, weight: float = 0.1) -> dict[str, set[str]]:
    point = Point(0, "emma", {"lambda": weight, "lr_gamma": 0.3, "st_epoch": 1})
    by_stage: dict[str, set[str]] = {}
    for task in Planner(load_study(file), IMAGES).point(point).tasks.values():
        by_stage.setdefault(task.stage, set()).add(task.key)
    return by_stage


def test_another_weight_reruns_neither_victim_nor_surrogate(study_file):
    before, after = tasks(study_file()), tasks(study_file(), weight=0.2)
    assert {stage for stage in before if before[stage] == after[stage]} == {"victim", "posteriors", "surrogate"}


def test_another_attacker_reruns_no_matrix(study_file):
    before = tasks(study_file())
    after = tasks(study_file(attackers={"soft": {}, "hard": {}, "late": {"kind": "soft", "epochs": 9}}))
    assert all(before[stage] <= after[stage] for stage in before)
    assert {stage for stage in before if before[stage] != after[stage]} == {"attacker", "evaluation"}


def test_device_workers_and_paths_change_no_key(study_file, tmp_path):
    before = tasks(study_file())
    resources = {stage: {"cpu": 2, "gpu": 0.25} for stage in OWN_TRIAL_STAGES}
    assert tasks(study_file(name="elsewhere", resources=resources, store=str(tmp_path / "x"))) == before
