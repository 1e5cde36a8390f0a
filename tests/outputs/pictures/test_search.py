"""The search: hypervolumes by brute force, seconds of each task once, importance where there are points for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.text import Text

from emma_tune.outputs.pictures.importance import importance_table
from emma_tune.outputs.pictures.search import draw as picture_of
from emma_tune.outputs.pictures.search import slices_table, worth_table
from tests.outputs.pictures.desk import draw, is_picture, seconds, table
from tests.results.desk import part

GRID = 401


def brute_force(points):
    """Area of the box [0, 2] × [0, 1] above and to the right of points, counted in small cells."""
    x, y = np.meshgrid((np.arange(GRID) + 0.5) * 2 / GRID, (np.arange(GRID) + 0.5) / GRID)
    covered = np.zeros_like(x, dtype=bool)
    for l1, accuracy in points:
        covered |= (x >= l1) & (y >= accuracy)
    return 2 * covered.mean()


def beaten(point, others):
    return any(a <= point[0] and b <= point[1] and (a, b) != tuple(point) for a, b in others)


def test_hypervolume_after_each_point(several, tmp_path):
    desk = several()
    assert draw("search", desk.root, out=tmp_path) == 0
    assert is_picture(tmp_path, "search")
    assert len(table(tmp_path, "search", "importance")) == 4
    assert len(table(tmp_path, "search", "slices")) == 4
    worth = table(tmp_path, "search")
    everything = worth[worth.defense == "all"]
    assert list(everything.point) == [0, 1, 2, 3, 4, 5, 6]  # the last is under way
    assert list(everything.points) == list(range(1, 8))
    figures = {n: desk.view.figures(desk.view.ledger.points[n]) for n in range(4)}  # point 4 is beyond the limit
    for row in worth.itertuples():
        own = [n for n in figures if n <= row.point and (row.defense == "all" or n >= 2)]
        validation = {
            n: (figures[n]["validation"]["l1"], figures[n]["validation"]["attacker_accuracy"]) for n in own
        }
        front = [n for n in own if not beaten(validation[n], validation.values())]
        test = [(figures[n]["test"]["l1"], figures[n]["test"]["attacker_accuracy"]) for n in front]
        assert row.hypervolume == pytest.approx(brute_force(test), abs=0.01)
        assert row.hypervolume_validation == pytest.approx(brute_force(validation.values()), abs=0.01)
    assert everything.hypervolume.iloc[-1] == pytest.approx(desk.view.front()["hypervolume"])
    alone = worth[worth.defense == "emma"].hypervolume.iloc[-1]
    assert alone == pytest.approx(desk.view.front(defenses={"emma"})["hypervolume"])


def test_seconds_are_those_of_each_task_once(several):
    desk = several()
    worth = worth_table(desk.view)
    plans = {number: desk.plan(number).tasks for number in range(5)}

    def spent(*numbers):
        return sum(seconds(task) for task in {key: t for n in numbers for key, t in plans[n].items()}.values())

    everything = worth[worth.defense == "all"].set_index("point").seconds
    assert everything[0] == pytest.approx(spent(0))
    assert everything[2] == pytest.approx(spent(0, 1, 2))
    assert everything[6] == pytest.approx(spent(0, 1, 2, 3, 4))  # of dominated and failed ones nothing is done
    alone = worth[worth.defense == "emma"].set_index("point").seconds
    assert alone[2] == pytest.approx(spent(2))
    assert alone[3] == pytest.approx(spent(2, 3))


def test_slices_have_dominated_points_by_their_budget(several):
    slices = slices_table(several().view).set_index("point")
    assert list(slices.index) == [2, 3, 4, 5]
    assert list(slices["lambda"][[2, 3, 4]]) == [0.1, 0.01, 0.001]
    assert (slices.l1[5], math.isnan(slices.attacker_accuracy[5])) == (pytest.approx(0.8), True)


def test_the_learned_defense_is_named_as_the_study_names_it(several):
    view = several().view
    written_in = {text.get_text() for text in picture_of(view).figure.findobj(Text)}
    named = f"on {view.study.defense.kind}’s front"
    assert {f"points of {view.study.defense.kind}", named} <= written_in
    assert not any("EMMA" in text for text in written_in)


def test_too_few_points_have_no_importance(several):
    importance = importance_table(several().view).set_index(["objective", "parameter"])
    assert list(importance.index.levels[1]) == ["lambda", "st_epoch"]  # lr_gamma is fixed
    assert importance.points[("l1", "lambda")] == 4  # the dominated point has a budget
    assert importance.points[("attacker_accuracy", "lambda")] == 3
    assert importance.importance.isna().all()


def test_importance_finds_what_mattered(written):
    desk = written()
    draws = np.random.default_rng(0).uniform(-4, math.log10(0.5), 24)
    for place, power in enumerate(draws):
        epoch = place % 2
        figures = part(-power / 4, 0.5 + 0.3 * epoch)
        desk.finished("emma", (figures, figures), **{"lambda": 10**power, "lr_gamma": 0.3, "st_epoch": epoch})
    shares = importance_table(desk.view).set_index(["objective", "parameter"]).importance
    assert shares["l1", "lambda"] > 0.9
    assert shares["attacker_accuracy", "st_epoch"] > 0.9
    assert shares["l1", "lambda"] + shares["l1", "st_epoch"] == pytest.approx(1)


def test_a_measure_that_never_changes_has_no_importance(written):
    desk = written()
    for place in range(12):
        figures = part(1.0, 0.5)
        desk.finished("emma", (figures, figures), **{"lambda": 0.01 * (place + 1), "st_epoch": place % 2})
    assert importance_table(desk.view).importance.fillna(0).between(0, 1).all()


def test_one_hyperparameter_alone_explains_nothing(written):
    desk = written(search={"space": {"lambda": {"low": 0.01, "high": 0.5}, "lr_gamma": 0.3, "st_epoch": 1}})
    for place in range(8):
        figures = part(1.0 - place / 10, 0.5)
        desk.finished("emma", (figures, figures), **{"lambda": 0.05 * (place + 1), "st_epoch": 1})
    importance = importance_table(desk.view)
    assert list(importance.parameter) == ["lambda", "lambda"]
    assert importance.importance.isna().all()


def test_every_step_of_a_range_counts(written):
    space = {"lambda": {"low": 0.1, "high": 0.9, "step": 0.1}, "lr_gamma": 0.3, "st_epoch": {"choices": [0, 1]}}
    desk = written(search={"space": space})
    for place in range(18):  # as Optuna counts them: 0.30000000000000004
        figures = part(place / 10, 0.5)
        desk.finished("emma", (figures, figures), **{"lambda": 0.1 + place // 2 * 0.1, "st_epoch": place % 2})
    assert set(importance_table(desk.view).points) == {18}
