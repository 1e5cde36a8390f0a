"""Every warning stands where it should, and nowhere else."""

from __future__ import annotations

import pytest

from emma_tune.outputs.report.cautions import cautions_of
from emma_tune.outputs.report.summary import summary_of
from tests.outputs.pictures.desk import verdict
from tests.outputs.report.conftest import SIX
from tests.results.desk import part

FINE = {"seeds": SIX, "limits": {"accuracy_drop": 0.02}}


def kinds(desk):
    view = desk.view
    return [caution.kind for caution in cautions_of(summary_of(view), list(view.ledger.points.values()))]


def text(desk, kind):
    view = desk.view
    cautions = cautions_of(summary_of(view), list(view.ledger.points.values()))
    (caution,) = [caution for caution in cautions if caution.kind == kind]
    return caution.text


@pytest.fixture
def fine(written):
    """A study that nothing can be said against: `fine(clones=…)` with changes."""

    def write(*, undefended=0.9, clones=(0.5, 0.6), params=({}, {}), test=None, **changes):
        desk = written(**{**FINE, **changes})
        desk.answered(classes=10)
        desk.finished("none", (part(0, undefended),) * 2)
        desk.finished("argmax", (part(0.1, 0.89),) * 2)
        for clone, of in zip(clones, params, strict=True):
            desk.finished("emma", (part(1, clone), test or part(1, clone)), **of)
        return desk

    return write


def test_nothing_to_be_warned_of(fine):
    assert kinds(fine()) == []


def test_a_defense_that_changes_nothing(fine):
    desk = fine(baselines=["none", "argmax", {"kind": "rounding", "decimals": 6}])
    desk.finished("rounding", (part(0, 0.9),) * 2, decimals=6)
    assert text(desk, "unchanged") == "Point 4 releases the answers of the undefended victim: l1 is 0."


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3, 4, 5]])
def test_few_seeds(fine, seeds):
    assert kinds(fine(seeds=seeds)) == ["seeds"]


@pytest.mark.parametrize(("undefended", "warned"), [(0.15, True), (0.151, False)])
def test_an_undefended_clone_that_only_guesses(fine, undefended, warned):
    assert kinds(fine(undefended=undefended, clones=(0.05, 0.06))) == ["chance"] * warned


@pytest.mark.parametrize(("undefended", "warned"), [(0.0505, True), (0.0605, False)])
def test_of_a_hundred_classes_five_points_count(fine, undefended, warned):
    desk = fine(undefended=undefended, clones=(0.0, 0.01), name="hundred")
    assert "chance" in kinds(desk)  # of ten classes it is less than guessing
    for record in desk.view.store.root.glob("posteriors/*/*"):
        record.unlink()
    for folder in desk.view.store.root.glob("posteriors/*"):
        folder.rmdir()
    desk.answered(classes=100)
    assert kinds(desk) == ["chance"] * warned


@pytest.mark.parametrize(("hard", "warned"), [(0.89, True), (0.88, False)])
def test_an_attacker_that_undoes_the_defense(fine, hard, warned):
    test = part(1, {"soft": 0.2, "hard": hard})
    desk = fine(attackers={"soft": {}, "hard": {}}, test=test)
    assert kinds(desk) == ["undone"] * warned
    if warned:
        assert "hard (89.0 %) is within one point" in text(desk, "undone")
        assert "(90.0 %)" in text(desk, "undone")


@pytest.mark.parametrize(("reached", "warned"), [(0.95, True), (0.94, False)])
def test_an_attacker_of_the_fronts_is_compared_with_itself(written, reached, warned):
    desk = written(attackers={"soft": {}, "more": {"kind": "semi", "queries": 50, "when": "front"}})
    verdict(desk, desk.finished("none", (part(0, 0.8),) * 2), more=0.96)
    verdict(desk, desk.finished("emma", (part(0.5, 0.3),) * 2), more=reached)
    assert kinds(desk).count("undone") == warned
    if warned:
        expected = "more (95.0 %) is within one point of the clone of more without a defense (96.0 %), or above it"
        assert expected in text(desk, "undone")


@pytest.mark.parametrize(("value", "end"), [(1e-4, "lower"), (0.5, "upper"), (1.05e-4, "lower"), (2e-4, None)])
def test_a_front_point_at_the_edge(fine, value, end):
    desk = fine(params=({"lambda": value}, {}))
    assert kinds(desk) == ["edge"] * (end is not None)
    if end:
        assert f"Front point 2: lambda of emma is at the {end} end" in text(desk, "edge")


def test_a_point_at_the_edge_that_is_not_on_the_front_does_not_matter(fine):
    assert kinds(fine(params=({}, {"lambda": 1e-4}))) == []


def test_an_end_that_cannot_be_moved_is_no_edge(fine):
    space = {"lambda": {"low": 0.0, "high": 1.0}, "lr_gamma": 0.3, "st_epoch": {"choices": [0, 1]}}
    desk = fine(params=({"lambda": 0.0, "st_epoch": 0}, {}), search={"space": space})
    assert kinds(desk) == []


def test_unequal_tuning_budgets(fine):
    desk = fine(baselines=["none", "argmax", {"kind": "uniform", "a": [0.3]}])
    desk.finished("uniform", (part(1, 0.8),) * 2, a=0.3)
    assert kinds(desk) == ["budgets"]
    assert "emma 2, uniform 1" in text(desk, "budgets")


def test_failed_points(fine):
    desk = fine()
    desk.failed("emma")
    assert kinds(desk) == ["failed"]
    assert "1 point failed and is missing here; point 4: matrix: ValueError: no" in text(desk, "failed")


def test_an_unfinished_study(fine):
    desk = fine()
    desk.asked("emma")
    assert kinds(desk) == ["unfinished"]
    assert "interrupted: 1 of 5 points" in text(desk, "unfinished")


def test_points_that_were_stopped_and_might_be_better(fine):
    desk = fine(objectives={"l1": "min", "accuracy_drop": "min"}, search={"stop": "joint"})
    desk.dominated("emma", 2, part(1.5, 0.1, drop=0.01))
    assert kinds(desk) == ["stopped"]
    assert "1 point (4)" in text(desk, "stopped")


def test_a_limit_that_test_data_break(fine):
    desk = fine(test=part(1, 0.5, drop=0.03))
    assert kinds(desk) == ["broken"]
    assert "accuracy_drop by 0.010" in text(desk, "broken")


def test_problems_of_reading(fine):
    desk = fine()
    with desk.view.folder.ledger.open("a") as file:
        file.write('{"event": "fini')
    assert kinds(desk) == ["reading"]
    assert "it ends early" in text(desk, "reading")
