"""4. A bump of the version of a stage or an attack re-runs it and what follows, nothing before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emma_tune.attacks import ATTACKS
from emma_tune.plan import Planner, Point
from emma_tune.stages import LOW_RANK_VERSION, STAGES
from emma_tune.study.file import load_study
from tests.plugins.files import MEASURES

POINTS = (
    Point(0, "emma", {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}),
    Point(1, "mad", {"epsilon": 0.5}),
    Point(2, "adaptive_misinformation", {"tau": 0.5, "nu": 1000}),
)
"""Of all stages."""


def keys(file) -> dict[str, list[str]]:
    planner = Planner(load_study(file), {"victim": "v", "queries": "q"})
    tasks = [task for point in POINTS for task in planner.point(point).tasks.values()]
    return {stage: [task.key for task in tasks if task.stage == stage] for stage in STAGES}


def behind(stage: str) -> set[str]:
    """The stage and all that reads it, by the table's own account."""
    found = {stage}
    for name, entry in STAGES.items():  # in the order of the pipeline
        if found & set(entry.inputs):
            found.add(name)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_bump_reruns_the_stage_and_what_follows(stage, study_file, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text(MEASURES)  # for the stage that takes the measures of plug-ins
    file = study_file(plugins=["mine.py"])
    before = keys(file)
    assert all(before.values())
    digest = Planner(load_study(file), {}).digest
    monkeypatch.setitem(STAGES, stage, replace(STAGES[stage], version=STAGES[stage].version + 1))
    after = keys(file)
    assert {name for name in STAGES if before[name] != after[name]} == behind(stage)
    assert Planner(load_study(file), {}).digest != digest  # conclusions in the ledger no longer hold


@pytest.mark.parametrize(("attack", "again"), [("hard", {"hard", "semi"}), ("semi", {"semi"})])
def test_a_bump_of_an_attack_reruns_its_clones_and_those_trained_on_its_targets(
    study_file, monkeypatch, attack, again
):
    file = study_file(attackers={"hard": {}, "semi": {"queries": 100, "targets": "hard"}, "soft": {}})

    def planned() -> tuple[str, dict[str, str]]:
        planner = Planner(load_study(file), {"victim": "v", "queries": "q"})
        return planner.digest, {name: task.key for (_, name), task in planner.point(POINTS[0]).attackers.items()}

    digest, before = planned()
    monkeypatch.setitem(ATTACKS, attack, replace(ATTACKS[attack], version=ATTACKS[attack].version + 1))
    new_digest, after = planned()
    assert {name for name in before if before[name] != after[name]} == again
    assert before.keys() > again
    assert new_digest != digest


@pytest.mark.parametrize("rank", [None, 2])
def test_a_bump_of_how_low_ranks_are_learned_reruns_those_alone(study_file, monkeypatch, rank):
    params = {**POINTS[0].params, **({"rank": rank} if rank else {})}
    file, point = study_file(search={"space": params}), replace(POINTS[0], params=params)

    def planned() -> set[str]:
        planner = Planner(load_study(file), {"victim": "v", "queries": "q"})
        return {
            planner.digest,
            *(task.key for task in planner.point(point).tasks.values() if task.stage == "matrix"),
        }

    before = planned()
    monkeypatch.setattr("emma_tune.plan.planner.LOW_RANK_VERSION", LOW_RANK_VERSION + 1)
    assert planned() == before if rank is None else planned().isdisjoint(before)
