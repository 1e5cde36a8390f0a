"""Tasks, epochs and artifacts of a study: each task once, where it is first needed, and what it left."""

from __future__ import annotations

import pytest
import torch

from emma_tune.results import StudyView
from emma_tune.storage.artifact import Artifact
from emma_tune.study.file import StudyError

EPOCHS = [{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0}]


@pytest.fixture
def desk(written):
    """One seed, two thieves: no defence, and two matrices behind surrogates of one and two legs."""
    desk = written(seeds=[7], attackers={"soft": {}, "smoothed": {}})
    desk.asked("none")
    desk.asked("emma", st_epoch=1)
    desk.asked("emma", st_epoch=0)
    return desk


def commit(desk, task, tensors=(), history=(), **provenance):
    artifact = Artifact(dict(tensors), {}, list(history))
    desk.view.store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)


def chain(desk, number):
    return list(desk.plan(number).tasks.values())


def test_nothing_finished_is_no_rows(desk):
    view = StudyView(desk.root)
    assert len(view.tasks()) == len(view.curves()) == 0
    assert list(view.points().point) == [0, 1, 2]


def test_a_task_stands_where_it_is_first_needed_with_all_its_uses(desk):
    for number in (0, 1, 2):
        for task in chain(desk, number):
            commit(desk, task, history=EPOCHS, seconds=1.5, finished_at=9.0, host="here", device="cpu", run="r")
    table = StudyView(desk.root).tasks()
    assert sorted(table.key) == sorted({task.key for number in (0, 1, 2) for task in chain(desk, number)})
    (victim,) = table[table.stage == "victim"].to_dict("records")
    assert victim == {
        "point": 0, "defense": "none", "run": 7, "seed": 7, "attacker": "", "stage": "victim",
        "key": victim["key"], "uses": 3, "seconds": 1.5, "epochs": 2, "finished_at": 9.0, "host": "here",
        "device": "cpu", "made_by": "r",
    }  # fmt: skip
    legs = table[table.stage == "surrogate"]
    assert sorted(zip(legs.point, legs.uses, strict=True)) == [(1, 1), (1, 2)]  # the leg to 0 serves both matrices
    clones = table[table.stage == "attacker"]
    assert sorted(zip(clones.point, clones.attacker, strict=True)) == [
        (number, thief) for number in (0, 1, 2) for thief in ("smoothed", "soft")
    ]
    views = table[(table.stage == "posteriors") & (table.attacker == "smoothed")]
    assert list(views.point) == [0]  # of all smoothed thieves, and of no other
    assert list(views.uses) == [3]


def test_what_is_not_finished_is_left_out(desk):
    commit(desk, chain(desk, 0)[0], history=EPOCHS)
    view = StudyView(desk.root)
    assert list(view.tasks().stage) == ["victim"]
    assert view.curves()[["stage", "epoch", "loss"]].values.tolist() == [["victim", 0, 2.0], ["victim", 1, 1.0]]


def test_an_artifact_is_found_by_point_stage_and_thief(desk):
    plan = desk.plan(1)
    (matrix,) = (task for task in plan.tasks.values() if task.stage == "matrix")
    commit(desk, matrix, {"matrix": torch.eye(3)})
    commit(desk, plan.attackers[7, "smoothed"], {"last.test": torch.zeros(2, 3)})
    view = StudyView(desk.root)
    assert torch.equal(view.artifact(1, "matrix").tensors["matrix"], torch.eye(3))
    assert view.artifact(1, "attacker", attacker="smoothed", seed=7).tensors["last.test"].shape == (2, 3)
    legs = [task for task in plan.tasks.values() if task.stage == "surrogate"]
    for until, leg in enumerate(legs):
        commit(desk, leg, {"epochs": torch.tensor(until)})
    assert int(view.artifact(1, "surrogate").tensors["epochs"]) == 1
    assert int(view.artifact(2, "surrogate").tensors["epochs"]) == 0


@pytest.mark.parametrize(
    ("asked", "named", "expected"),
    [
        ((9, "matrix"), {}, "expected a point of the study, found no point 9"),
        ((1, "matrix"), {"seed": 8}, "expected a seed of the study, 7, found 8"),
        (
            (0, "matrix"),
            {},
            "stage of point 0, victim, posteriors, responses, attacker, evaluation, found m",
        ),
        ((0, "attacker"), {"attacker": "hard"}, "expected an attacker of point 0, soft, smoothed, found hard"),
        ((0, "victim"), {}, "expected the victim of point 0 in .*store, found none; run the study"),
    ],
    ids=str,
)
def test_what_is_not_there_is_named(desk, asked, named, expected):
    with pytest.raises(StudyError, match=expected):
        StudyView(desk.root).artifact(*asked, **named)


def test_the_tasks_of_a_point_are_in_the_order_of_the_pipeline_with_those_of_one_attacker(desk):
    view = desk.view
    plan = view.planner.whole(view.point(1))
    stages = ["victim", "posteriors", "surrogate", "matrix", "responses", "attacker", "evaluation"]
    tasks = view.tasks_of(1, attacker="smoothed")
    assert list(tasks) == stages
    assert tasks["attacker"] == plan.attackers[7, "smoothed"]
    assert tasks["evaluation"] == plan.evaluations[7, "smoothed"]
    assert tasks["responses"] == plan.responses[7]  # not those to its views
    assert tasks["surrogate"].config.until == 1
    assert view.tasks_of(1)["attacker"] == plan.attackers[7, "soft"]


def test_of_several_repeats_the_first_stands_for_a_seed(written):
    view = written(seeds=[7, 8], repeats=[0, 1]).view
    assert [view.run_of(seed) for seed in (None, 7, 8)] == [7, 7, 8]


def test_images_that_are_not_in_the_store_are_missed(desk):
    with pytest.raises(StudyError, match=r"store: expected the study's decoded images, found none"):
        desk.view.images("queries")
