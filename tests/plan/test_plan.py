"""Keys: every rule about the identity of a result, one small test each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from emma_tune.plan import Planner, Point, Task
from emma_tune.stages import STAGES
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}
POINT = Point(0, "emma", {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1})


@pytest.fixture
def keys(study_file):
    """Keys by stage of a point under a study with changes."""

    def plan(point: Point = POINT, images=IMAGES, **changes) -> dict[str, list[str]]:
        tasks = Planner(load_study(study_file(**changes)), images).point(point).tasks.values()
        return {stage: [task.key for task in tasks if task.stage == stage] for stage in STAGES}

    return plan


def changed(before: dict, after: dict) -> set[str]:
    return {stage for stage in STAGES if before[stage] != after[stage]}


def with_params(**params) -> Point:
    return replace(POINT, params={**POINT.params, **params})


def test_keys_are_the_same_in_another_process(keys, study_file):
    script = (
        "import sys, json; from pathlib import Path; from emma_tune.plan import *; "
        "from emma_tune.study.file import load_study; "
        f"p = Planner(load_study(Path(sys.argv[1])), {IMAGES!r}); "
        f"print(json.dumps(list(p.point(Point(0, 'emma', {POINT.params!r})).tasks)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(study_file())], capture_output=True, text=True, check=True
    )
    assert set(json.loads(out.stdout)) == {key for stage in keys().values() for key in stage}


BEHIND_MATRIX = {"matrix", "responses", "attacker", "evaluation"}
UNDER_EMMA = set(STAGES) - {"misinformer", "guidance", "measure"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "another"}, set()),
        ({"resources": {"victim": {"cpu": 2, "gpu": 0.5, "timeout_seconds": 60}}}, set()),
        ({"resources": "auto"}, set()),
        ({"store": "elsewhere"}, set()),
        ({"search": {"points": 99, "sampler": "tpe"}}, set()),
        ({"limits": {"accuracy_drop": 0.5}}, set()),
        ({"objectives": {"accuracy_drop": "min"}}, set()),
        ({"baselines": ["none"]}, set()),
        ({"queries": {"limit": 300}}, set()),  # the images' fingerprint is what counts
        ({"victim": {"epochs": 3}}, UNDER_EMMA),
        ({"seeds": [1]}, UNDER_EMMA),
        ({"surrogate": {"epochs": 3}}, {"surrogate", *BEHIND_MATRIX}),
        ({"defense": {"epochs": 3}}, BEHIND_MATRIX),
        ({"defense": {"keep": "last"}}, BEHIND_MATRIX),
        ({"defense": {"precision": "bf16"}}, BEHIND_MATRIX),
        ({"victim": {"precision": "bf16"}}, UNDER_EMMA),
        ({"victim": {"compile": True}}, UNDER_EMMA),
        ({"surrogate": {"precision": "bf16"}}, {"surrogate", *BEHIND_MATRIX}),
        ({"attackers": {"soft": {"precision": "bf16"}, "hard": {}}}, {"attacker", "evaluation"}),
        ({"attackers": {"soft": {"compile": True}, "hard": {}}}, {"attacker", "evaluation"}),
        ({"attackers": {"soft": {"epochs": 3}, "hard": {}}}, {"attacker", "evaluation"}),
    ],
)
def test_a_change_of_the_study_changes_these_stages_and_no_other(keys, changes, expected):
    # attackers and surrogate are pinned, so that a change of the victim reaches them through their inputs alone
    pinned = {"surrogate": {"epochs": 2}, "attackers": {"soft": {"epochs": 2}, "hard": {"epochs": 2}}}
    assert changed(keys(**pinned), keys(**{**pinned, **changes})) == expected


def test_resources_do_not_make_another_plan(study_file):
    before = Planner(load_study(study_file()), IMAGES).digest
    limited = {"victim": {"cpu": 2, "gpu": 0.5, "timeout_seconds": 60}}
    for resources in ("auto", limited):
        assert Planner(load_study(study_file(resources=resources)), IMAGES).digest == before


def test_the_matrix_has_the_precision_of_its_surrogate_unless_it_has_its_own(study_file):
    def training(**changes):
        plan = Planner(load_study(study_file(**changes)), IMAGES).point(
            Point(0, "emma", {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1})
        )
        (matrix,) = (task for task in plan.tasks.values() if task.stage == "matrix")
        return matrix.config.training

    assert training().precision == "fp32"
    assert training(surrogate={"precision": "bf16", "compile": True}).precision == "bf16"
    assert training(surrogate={"precision": "bf16"}, defense={"precision": "fp32"}).precision == "fp32"
    # a tangent needs the graph of every function, which a compiled network has not: compiling the surrogate must
    # not name another matrix than was computed
    assert training(surrogate={"compile": True}).compile is False


@pytest.mark.parametrize("params", [{"lambda": 0.2}, {"lr_gamma": 0.4}])
def test_changing_a_hyperparameter_reruns_neither_victim_nor_surrogate(keys, params):
    assert changed(keys(), keys(with_params(**params))) == BEHIND_MATRIX


def test_images_are_in_the_keys_of_the_stages_that_read_them(keys):
    assert changed(keys(), keys(images={**IMAGES, "queries": "other"})) == UNDER_EMMA - {"victim"}
    assert changed(keys(), keys(images={**IMAGES, "victim": "other"})) == UNDER_EMMA


def test_adding_an_attacker_or_a_seed_adds_tasks_and_changes_none(keys):
    before = {key for stage in keys().values() for key in stage}
    more = keys(attackers={"soft": {}, "hard": {}, "late": {"kind": "soft", "epochs": 5}})
    assert len(more["attacker"]) == 3
    assert before < {key for stage in more.values() for key in stage}
    assert before < {key for stage in keys(seeds=[3407, 1]).values() for key in stage}


def test_two_attackers_alike_but_for_their_name_are_one_task(keys):
    twins = keys(attackers={"soft": {}, "also_soft": {"kind": "soft"}})
    assert len(twins["attacker"]) == 1


def test_a_new_st_epoch_in_the_space_leaves_the_other_surrogates_as_they_are(keys):
    def space(*choices):
        return {"space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": {"choices": list(choices)}}}

    def with_epochs(*choices):
        return keys(
            with_params(st_epoch=4), surrogate={"epochs": 5}, defense={"epochs": 5}, search=space(*choices)
        )

    few, more = with_epochs(0, 4), with_epochs(0, 2, 4)
    assert set(few["surrogate"]) < set(more["surrogate"])
    assert changed(few, more) == {"surrogate"}


def test_legs_of_the_surrogate_go_on_from_one_another(study_file):
    study = load_study(
        study_file(search={"space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": {"choices": [0, 1]}}})
    )
    tasks = Planner(study, IMAGES).point(POINT).tasks.values()
    first, second = (task for task in tasks if task.stage == "surrogate")
    assert (first.config.until, second.config.until) == (0, 1)
    assert (first.continues, second.continues) == (None, first.key)
    assert first.key in second.needs
    assert first.key not in json.dumps(second.recipe)  # how it was trained is no part of what it is


def test_a_task_arrives_at_a_worker_as_it_left(study_file):
    for task in Planner(load_study(study_file()), IMAGES).point(POINT).tasks.values():
        assert Task.from_json(task.to_json()) == task


def test_recipes_hold_no_device_path_or_name(study_file, tmp_path):
    study = load_study(study_file(name="a-name-of-its-own", resources={"victim": {"gpu": 0.25}}, store="here"))
    for task in Planner(study, IMAGES).point(POINT).tasks.values():
        text = json.dumps(task.recipe)
        assert not any(word in text for word in ("a-name-of-its-own", "gpu", "cpu", "here", str(tmp_path)))


def test_attackers_of_the_fronts_are_no_part_of_a_points_plan_and_have_the_keys_that_they_always_have(study_file):
    attackers = {"soft": {}, "inverse": {}}
    always = Planner(load_study(study_file(attackers=attackers)), IMAGES)
    without = Planner(load_study(study_file(attackers={"soft": {}})), IMAGES)
    front = Planner(load_study(study_file(attackers={**attackers, "inverse": {"when": "front"}})), IMAGES)
    assert front.point(POINT).tasks.keys() == without.point(POINT).tasks.keys()
    assert front.digest == without.digest != always.digest
    assert front.front_digest != without.front_digest
    assert {name for _, name in front.front_attack(POINT).evaluations} == {"inverse"}
    assert not front.front_attack(replace(POINT, defense="argmax", params={})).evaluations  # there is no matrix
    assert front.whole(POINT).tasks.keys() == always.point(POINT).tasks.keys()
