"""Points are named by their defense, where it acts, and what follows it."""

from __future__ import annotations

import pytest

from emma_tune.outputs.front_table import _varied
from emma_tune.outputs.pictures.style import named
from emma_tune.outputs.words import parameters
from emma_tune.plan import Point

NAMES = {
    "": {},
    "lambda 0.02, st_epoch 2": {"lambda": 0.02, "st_epoch": 2},
    "where max p < 0.8": {"gate": 0.8},
    "epsilon 0.5 where max p < 0.8": {"epsilon": 0.5, "gate": 0.8},
    "epsilon 1": {"epsilon": 1.0, "gate": 1.0, "gate_temperature": 4.0},
    "epsilon 0.5 where max p at t 4 < 0.25, then top_k 2": {
        "epsilon": 0.5,
        "gate": 0.25,
        "gate_temperature": 4,
        "then_k": 2,
        "then": "top_k",
    },
    "a 0.5, then argmax": {"a": 0.5, "then": "argmax"},
    "then rounding 1": {"then_decimals": 1.0, "then": "rounding"},
    "a 0.5, gate_temperature 2, then_k 3": {"a": 0.5, "gate_temperature": 2, "then_k": 3},
}
"""The last has the rest of its parameters in columns of their own."""


@pytest.mark.parametrize(("name", "params"), NAMES.items())
def test_parameters_say_where_a_defense_acts_and_what_follows(name, params):
    assert parameters(params) == name


def test_a_title_says_it_in_short_lines():
    params = {"lambda": 0.02, "gate": 0.8, "then": "rounding", "then_decimals": 1}
    assert " ".join(named(Point(3, "emma", params)).split()) == (
        "point 3, emma λ 0.02, where max p < 0.8, then rounding 1"
    )


def test_a_front_may_have_points_with_a_gate_and_without():
    front = [{"params": {"epsilon": 0.5}}, {"params": {"epsilon": 0.5, "gate": 0.8}}]
    assert _varied([front]) == ["gate"]
