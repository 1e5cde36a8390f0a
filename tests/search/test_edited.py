"""A study that is edited goes on: with what is new, and with what was measured where it is still of the space."""

from __future__ import annotations

import pytest

from emma_tune.results import StudyView
from emma_tune.results.ledger import read_ledger
from emma_tune.results.status import status_of
from tests.search.desk import FIRST, SECOND

REST = {"lr_gamma": 0.3, "st_epoch": 1}


def searched(desk, sampler: str, points: int, lambda_: object) -> list[float]:
    """Opens the study so changed, hands out what there is, and gives λ of every searched point."""
    desk.open(slots=20, search={"sampler": sampler, "points": points, "space": {"lambda": lambda_, **REST}})
    list(desk.trials())
    return [params["lambda"] for params in read_ledger(desk.place.ledger).params_of("emma")]


@pytest.fixture
def through(desk):
    """The study, every point of which is finished."""
    desk.open(search={"stop": "none"})
    while some := list(desk.trials()):
        for trial, tasks in some:
            desk.finish(trial, tasks)
    assert status_of(StudyView(desk.place.root))["state"] == "finished"
    return desk


@pytest.mark.parametrize("points", [4, 12])
def test_another_grid_is_gone_through(through, points):
    assert searched(through, "grid", points, {"choices": [0.3, 0.4]}) == [0.1, 0.2, 0.3, 0.4]
    assert status_of(StudyView(through.place.root))["state"] == "interrupted"


def test_a_wider_grid_is_what_is_missing_of_it_and_no_more_than_the_points_that_are_wanted(through):
    assert searched(through, "grid", 3, {"choices": [0.05, 0.1, 0.2, 0.3]}) == [0.1, 0.2, 0.05]


def test_a_grid_that_is_done_is_done(through):
    assert searched(through, "grid", 12, {"choices": [0.2, 0.1]}) == [0.1, 0.2]
    assert status_of(StudyView(through.place.root))["state"] == "finished"


@pytest.mark.parametrize("sampler", ["grid", "gp"])
def test_points_beside_the_steps_of_a_range_are_not_of_its_space(through, sampler):
    lambdas = searched(through, sampler, 6, {"low": 0.1, "high": 0.4, "step": 0.15})
    assert lambdas[:2] == [0.1, 0.2]
    assert set(lambdas[2:]) <= {0.1, 0.25, 0.4}
    assert len(lambdas) == (4 if sampler == "grid" else 6)
    told = {number: trial.state.name for number, trial in through.journal().items()}
    assert told.pop(FIRST) == "COMPLETE"
    assert SECOND not in told


def test_a_run_as_far_as_a_stage_knows_what_was_measured_and_says_what_it_cannot_know(through):
    space = {"lambda": {"low": 0.1, "high": 0.4}, **REST}
    through.open(slots=20, until="matrix", search={"sampler": "gp", "points": 6, "space": space})
    list(through.trials())
    told = {number: trial.state.name for number, trial in through.journal().items()}
    assert told == {FIRST: "COMPLETE", SECOND: "COMPLETE"} | dict.fromkeys(range(4, 8), "RUNNING")
    assert (
        "--until matrix: 4 points are proposed before any of them is measured, so that the sampler gp "
        in (through.said[-1])
    )


def test_a_baseline_with_other_settings_is_another(through):
    def asked(**settings: bool) -> int:
        budget = {"sigma": {"low": 0.1, "high": 0.3, "step": 0.1}}
        through.open(
            slots=20, baselines=["none", {"kind": "gaussian", **budget, **settings}], search={"points": 9}
        )
        list(through.trials())
        return len(read_ledger(through.place.ledger).params_of("gaussian"))

    assert [asked(fresh=True), asked(fresh=True), asked(), asked(fresh=True)] == [3, 3, 6, 6]
