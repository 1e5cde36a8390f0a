"""Proposals lie in the space, depend on the ledger alone, and leave a journal that Optuna can read."""

from __future__ import annotations

import itertools
import math
import warnings

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from emma_tune.plan import Point
from emma_tune.search.proposals import Proposer, new_proposers
from emma_tune.study.file import load_study

SPACE = {
    "lambda": {"low": 1.0e-4, "high": 0.5, "log": True},
    "lr_gamma": {"low": 0.03, "high": 1.0, "log": True},
    "st_epoch": {"choices": [0, 1]},
}
LONG = {"surrogate": {"epochs": 50}, "defense": {"epochs": 50}}
GRID = {"lambda": {"low": 0.1, "high": 0.3, "step": 0.1}, "lr_gamma": {"choices": [0.3, 1.0]}, "st_epoch": 1}


def measure(params) -> dict[str, float]:
    """Figures that any function of the parameters may stand for here."""
    drop = 0.05 * (params["lambda"] < 1e-3)
    return {
        "l1": -math.log10(params["lambda"]) / 2,
        "attacker_accuracy": params["lr_gamma"],
        "accuracy_drop": drop,
    }


@pytest.fixture
def proposer(study_file, tmp_path):
    def make(sampler: str, space=SPACE, points: int = 12, **more) -> Proposer:
        study = load_study(study_file(search={"sampler": sampler, "points": points, "space": space}, **more))
        return new_proposers(study, tmp_path / "optuna-journal.log")["emma"]

    return make


def drive(proposer: Proposer, start: int, end: int, log: list) -> None:
    for number in range(start, end):
        params, memory = proposer.propose(number, number, [point for point, _ in log])
        log.append((Point(number, "emma", params), memory))
        proposer.conclude(log[-1][0], measure(params), memory)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "qmc", "random"])
def test_proposals_do_not_depend_on_when_the_run_began(proposer, sampler):
    through, resumed = [], []
    drive(proposer(sampler, limits={"accuracy_drop": 0.02}), 0, 12, through)
    drive(proposer(sampler, limits={"accuracy_drop": 0.02}), 0, 7, resumed)
    again = proposer(sampler, limits={"accuracy_drop": 0.02})
    for point, memory in resumed:
        again.conclude(point, measure(point.params), memory)
    drive(again, 7, 12, resumed)
    assert [point.params for point, _ in resumed] == [point.params for point, _ in through]
    check_in_space(through)
    assert len({str(point.params) for point, _ in through}) == 12


OPEN = 5


def drive_on(proposer: Proposer, start: int, end: int, log: list) -> None:
    """Every third point is stopped, one stays open."""
    for number in range(start, end):
        params, memory = proposer.propose(number, number, [point for point, _ in log])
        log.append((Point(number, "emma", params), memory))
        if number != OPEN:
            proposer.conclude(log[-1][0], measure(params), memory, stopped=number % 3 == 1)


def test_proposals_of_gp_do_not_depend_on_the_order_in_which_a_resumed_run_reports_points(proposer):
    through, resumed = [], []
    drive_on(proposer("gp"), 0, 16, through)
    drive_on(proposer("gp"), 0, 13, resumed)
    again = proposer("gp")
    closed = [of for of in resumed if of[0].number != OPEN]
    for stopped in (False, True):
        for point, memory in closed:
            if (point.number % 3 == 1) == stopped:
                again.conclude(point, measure(point.params), memory, stopped=stopped)
    again.adopt(resumed[OPEN][0])
    drive_on(again, 13, 16, resumed)
    assert [point.params for point, _ in resumed] == [point.params for point, _ in through]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_first_point_that_is_known_is_not_proposed_again(proposer, sampler):
    params, _ = proposer(sampler).propose(1, 1, ())
    again, _ = proposer(sampler).propose(1, 1, [Point(0, "emma", params)])
    assert again != params


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_model_begins_with_the_usual_values_then_fills_the_space(proposer, sampler):
    log, even = [], []
    space = {**SPACE, "st_epoch": [0, 20]}
    startup = {"gp": 10, "tpe": 10}[sampler]  # three for each dimension and one; as Optuna has it
    drive(proposer(sampler, space, **LONG), 0, startup + 1, log)
    drive(proposer("qmc", space, **LONG), 0, startup, even)
    proposed = [point.params for point, _ in log]
    assert proposed[0] == {"lambda": 0.01, "lr_gamma": 0.3, "st_epoch": 20}  # the reference's
    filling = [point.params for point, _ in even]
    assert proposed[1:startup] == filling[: startup - 1]
    assert proposed[startup] != filling[startup - 1]


@pytest.mark.parametrize(
    ("space", "first"),
    [
        ({"lambda": {"low": 0.02, "high": 0.08, "log": True}}, {"lambda": 0.04}),
        ({"lambda": {"low": 0.02, "high": 0.08}}, {"lambda": 0.05}),
        ({"lambda": {"low": 0.004, "high": 0.02, "step": 0.004}}, {"lambda": 0.012}),
        ({"lr_gamma": {"low": 0.1, "high": 0.5, "step": 0.1}}, {"lr_gamma": 0.3}),
        ({"lr_gamma": {"low": 0.2, "high": 0.6, "step": 0.2}}, {"lr_gamma": 0.4}),
        ({"st_epoch": [0, 1, 2]}, {"st_epoch": 1}),
        ({"st_epoch": [20, 40]}, {"st_epoch": 20}),
    ],
)
def test_where_a_space_leaves_a_usual_value_out_its_middle_is_first(proposer, space, first):
    params, _ = proposer("gp", {**SPACE, **space}, **LONG).propose(0, 0, ())
    assert {name: params[name] for name in first} == pytest.approx(first)


def test_a_budget_that_is_searched_begins_in_the_middle(study_file, tmp_path):
    mad = {"kind": "mad", "epsilon": {"low": 0.2, "high": 0.8}}
    study = load_study(study_file(baselines=["none", mad], search={"sampler": "gp"}))
    params, _ = new_proposers(study, tmp_path / "optuna-journal.log")["mad"].propose(2, 0, ())
    assert params == {"epsilon": pytest.approx(0.5)}


def test_as_long_as_nothing_is_known_proposals_fill_the_space(proposer):
    """As many at once as there are slots: none of them is drawn at random."""
    open_ones, even = [], []
    driven = proposer("gp")
    for number in range(9):
        open_ones.append(driven.propose(number, number, ())[0])
    drive(proposer("qmc"), 0, 8, even)
    assert open_ones[1:] == [point.params for point, _ in even]


def test_a_corner_that_a_model_likes_is_proposed_once(proposer):
    log = []
    # the larger λ the better, in one objective; nothing else matters
    drive(proposer("gp", {**SPACE, "lr_gamma": 0.3, "st_epoch": 0}), 0, 10, log)
    values = [point.params["lambda"] for point, _ in log]
    assert max(values) == pytest.approx(0.5)
    assert len({f"{value:.3g}" for value in values}) == 10


def test_generations_survive_a_new_beginning(proposer):
    log = []
    drive(proposer("nsga2"), 0, 6, log)
    again = proposer("nsga2")
    for point, memory in log:
        again.conclude(point, measure(point.params), memory)
    drive(again, 6, 12, log)
    check_in_space(log)
    assert [memory["NSGAIISampler:generation"] for _, memory in log] == [0] * 4 + [1] * 4 + [2] * 4


def check_in_space(log) -> None:
    for point, _ in log:
        assert 1e-4 <= point.params["lambda"] <= 0.5
        assert 0.03 <= point.params["lr_gamma"] <= 1.0
        assert point.params["st_epoch"] in (0, 1)


def test_the_grid_is_every_combination_once(proposer):
    log = []
    drive(proposer("grid", GRID), 0, 6, log)
    combinations = {(p.params["lambda"], p.params["lr_gamma"], p.params["st_epoch"]) for p, _ in log}
    assert combinations == set(itertools.product([0.1, 0.2, 0.3], [0.3, 1.0], [1]))


def test_a_grid_that_was_edited_is_what_is_missing_of_it(proposer):
    log = []
    drive(proposer("grid", GRID), 0, 6, log)
    wider = {**GRID, "lr_gamma": {"choices": [0.3, 0.6, 1.0]}}
    drive(proposer("grid", wider), 6, 9, log)
    combinations = [(p.params["lambda"], p.params["lr_gamma"], p.params["st_epoch"]) for p, _ in log]
    assert sorted(combinations) == sorted(itertools.product([0.1, 0.2, 0.3], [0.3, 0.6, 1.0], [1]))


@pytest.mark.parametrize(("sampler", "points", "there"), [("grid", 12, 6), ("grid", 4, 4), ("random", 12, 12)])
def test_there_are_as_many_proposals_as_are_wanted_or_as_the_grid_has(study_file, sampler, points, there):
    study = load_study(study_file(search={"sampler": sampler, "points": points, "space": GRID}))
    assert study.proposals == there


def test_qmc_fills_the_space_evenly(proposer):
    log = []
    drive(proposer("qmc", points=16), 0, 16, log)
    quarters = [int(4 * math.log(p.params["lambda"] / 1e-4) / math.log(0.5 / 1e-4)) for p, _ in log]
    assert sorted(quarters) == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_a_fixed_value_is_proposed_always(proposer):
    log = []
    drive(proposer("random", {**SPACE, "lambda": 0.01, "st_epoch": 1}), 0, 3, log)
    assert {(p.params["lambda"], p.params["st_epoch"]) for p, _ in log} == {(0.01, 1)}


def test_the_journal_is_optunas_and_says_what_is_known(proposer, tmp_path):
    log = []
    driven = proposer("random", limits={"accuracy_drop": 0.02})
    drive(driven, 0, 3, log)
    failed, _ = driven.propose(3, 3, ())
    driven.fail(Point(3, "emma", failed))
    _running, _ = driven.propose(4, 4, ())
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna-journal.log")))
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["FAIL", "RUNNING"]
    assert [trial.user_attrs["point"] for trial in study.trials] == [0, 1, 2, 3, 4]
    for trial, (point, _) in zip(study.trials, log, strict=False):
        figures = measure(point.params)
        assert trial.values == [figures["l1"], figures["attacker_accuracy"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert trial.constraints == {"accuracy_drop": figures["accuracy_drop"] - 0.02}


def test_a_point_under_way_is_adopted_with_its_parameters(proposer):
    driven = proposer("gp")
    point = Point(5, "emma", {"lambda": 0.01, "lr_gamma": 0.5, "st_epoch": 0})
    driven.adopt(point)
    driven.conclude(point, measure(point.params), {})
    (trial,) = driven._optuna.trials
    assert (trial.params, trial.state.name) == (point.params, "COMPLETE")


def test_points_outside_the_space_of_today_are_left_out(proposer):
    narrower = proposer("gp", {**SPACE, "lambda": {"low": 0.1, "high": 0.5}})
    narrower.conclude(Point(0, "emma", {"lambda": 0.01, "lr_gamma": 0.5, "st_epoch": 0}), {"l1": 1.0}, {})
    assert narrower._optuna.trials == []
