"""The table of measures, from which tables, pages and pictures derive."""

from __future__ import annotations

import pytest

from emma_tune.study import Limits
from emma_tune.study.measures import MEASURES, known_values, measure, value_of


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("l1", 0.4121, "0.412"),
        ("victim_accuracy", 0.965, "96.5 %"),
        ("accuracy_drop", 0.0125, "1.2 points"),
        ("attackers.soft", 1.0, "100.0 %"),
    ],
)
def test_a_value_is_shown_in_its_unit(name, value, shown):
    assert measure(name).shown(value) == shown


def test_labels_name_the_images():
    assert measure("l1").axis() == "budget l1: mean ‖p′ − p‖₁, test images"
    assert measure("l1_queries").axis() == "budget l1: mean ‖p′ − p‖₁, query pool"
    assert measure("attackers.soft").axis("validation") == "accuracy of the clone of soft, validation images, %"


def test_one_attacker_is_measured_like_the_worst_one():
    soft, worst = measure("attackers.soft"), MEASURES["attacker_accuracy"]
    assert (soft.direction, soft.best, soft.worst, soft.unit) == (
        worst.direction,
        worst.best,
        worst.worst,
        worst.unit,
    )
    assert soft.of_clones
    figures = {"l1": 1, "attacker_accuracy": 0.5, "attackers": {"soft": 0.25, "a.b": 0.75}}
    assert [value_of(figures, name) for name in ("l1", "attackers.soft", "attackers.a.b")] == [1.0, 0.25, 0.75]


@pytest.mark.parametrize("name", ["speed", "attackers.", "attackers"])
def test_what_is_no_measure_is_not_found(name):
    with pytest.raises(KeyError):
        measure(name)


@pytest.mark.parametrize(
    ("name", "value", "bound", "beyond"),
    [("l1", 1.0, 0.75, 0.25), ("l1", 0.5, 0.75, 0.0), ("victim_accuracy", 0.5, 0.75, 0.25)],
)
def test_beyond_a_bound_is_on_the_worse_side_of_it(name, value, bound, beyond):
    assert measure(name).beyond(value, bound) == beyond


def test_without_a_gate_a_defense_acts_on_every_answer_and_none_on_none():
    gated = {"l1": 0.2, "acts_on": 0.25, "acts_on_queries": 0.75}
    for figures, own, pool in ((gated, 0.25, 0.75), ({"l1": 0.2}, 1.0, 1.0), ({"l1": 0.0}, 0.0, 0.0)):
        assert (value_of(figures, "acts_on"), value_of(figures, "acts_on_queries")) == (own, pool)
        assert known_values(figures, MEASURES) == {"l1": figures["l1"], "acts_on": own, "acts_on_queries": pool}
    assert known_values({}, MEASURES) == {}, "while nothing is known"


def test_limits_may_bound_what_a_gate_lets_through():
    limits = Limits(accuracy_drop=0.1, acts_on=0.25)
    assert limits.bounds == {"accuracy_drop": 0.1, "acts_on": 0.25}
    kept = {"l1": 0.2, "accuracy_drop": 0.1, "acts_on": 0.25}
    assert limits.kept_by(kept)
    assert limits.excess({**kept, "acts_on": 0.5}) == {"accuracy_drop": 0.0, "acts_on": 0.25}
    assert not limits.kept_by({"l1": 0.2, "accuracy_drop": 0.0}), "without a gate it acts on every answer"
    assert limits.kept_by({"l1": 0.0, "accuracy_drop": 0.0}), "and undefended on none"
    assert Limits(accuracy_drop=0.1).model_dump() == {"accuracy_drop": 0.1}
