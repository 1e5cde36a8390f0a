"""What is wrong with a defense beside the matrix, or with what stands around it, is said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from emma_tune.study.file import StudyError, load_study
from tests.study.test_baselines import GRID, SPACE, of_the_schema, written

AROUND = "gate, gate_temperature, then_k, then_decimals"


def baseline(entry: Any) -> dict[str, Any]:
    """A study with an entry of `baselines`."""
    return {"baselines": ["none", entry]}


def learned(defense: Mapping[str, Any] = {}, **space: Any) -> dict[str, Any]:
    """A study whose matrix has something around it: fields of `defense` and dimensions of the space."""
    return {"search": {"space": {**SPACE, **space}}, "defense": defense}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown": (baseline("mat"), "baselines.1.kind", "expected a known baseline defense, one of abstain, "),
    "unknown kind": (baseline({"kind": "mat"}), "baselines.1.kind", "expected a known baseline defense, one of "),
    "the searched one": (baseline("emma"), "baselines.1.kind", "expected a known baseline defense, one of "),
    "no kind": (baseline({"epsilon": 1}), "baselines.1.kind", "expected a value, found none"),
    "a number": (baseline(5), "baselines.1", "expected a mapping, found 5"),
    "nothing": (baseline(None), "baselines.1", "expected a mapping, found null"),
    "a list": (baseline(["mad"]), "baselines.1", "expected a mapping, found ['mad']"),
    "another's budget": (
        baseline({"kind": "mad", "sigma": 0.1}),
        "baselines.1",
        f"expected a parameter of mad (epsilon, {AROUND}), found 'sigma'",
    ),
    "a budget where there is none": (
        baseline({"kind": "argmax", "epsilon": 1}),
        "baselines.1",
        f"expected a parameter of argmax ({AROUND}), found 'epsilon'",
    ),
    "a misspelt setting": (
        baseline({"kind": "reverse_sigmoid", "gama": 1}),
        "baselines.1",
        f"expected a parameter of reverse_sigmoid (beta, gamma, {AROUND}; did you mean gamma?), found 'gama'",
    ),
    "a budget of text": (
        baseline({"kind": "mad", "epsilon": "much"}),
        "baselines.1.epsilon",
        "expected a number, {low, high}, a list of numbers or {choices: […]}, found 'much'",
    ),
    "a budget that is true": (
        baseline({"kind": "mad", "epsilon": True}),
        "baselines.1.epsilon",
        "expected a number, {low, high}, a list of numbers or {choices: […]}, found true",
    ),
    "half a range": (
        baseline({"kind": "mad", "epsilon": {"low": 1}}),
        "baselines.1.epsilon",
        "expected both low and high, found {low: 1}",
    ),
    "a range the wrong way": (
        baseline({"kind": "mad", "epsilon": {"low": 1, "high": 0.5}}),
        "baselines.1.epsilon",
        "expected low < high, found low 1, high 0.5",
    ),
    "a misspelt range": (
        baseline({"kind": "mad", "epsilon": {"lo": 0.1, "high": 1}}),
        "baselines.1.epsilon.lo",
        "expected a known key (did you mean low?), found 'lo'",
    ),
    "no value at all": (
        baseline({"kind": "mad", "epsilon": []}),
        "baselines.1.epsilon",
        "expected at least one choice",
    ),
    "a value twice": (
        baseline({"kind": "mad", "epsilon": [1, 0.5, 1]}),
        "baselines.1",
        "expected each value of epsilon once",
    ),
    "a budget that is infinite": (
        baseline({"kind": "gaussian", "sigma": float("inf")}),
        "baselines.1.sigma.value",
        "expected a finite number, found inf",
    ),
    "more than all": (
        baseline({"kind": "mad", "epsilon": 2.5}),
        "baselines.1",
        "expected epsilon of mad in [0, 2], found 2.5",
    ),
    "one of several": (
        baseline({"kind": "uniform", "a": [0.5, 1.5]}),
        "baselines.1",
        "expected a of uniform in [0, 1], found 0.5 … 1.5",
    ),
    "the end of a range": (
        baseline({"kind": "mad", "epsilon": {"low": -1, "high": 1}}),
        "baselines.1",
        "expected epsilon of mad in [0, 2], found -1 … 1",
    ),
    "less than one class": (
        baseline({"kind": "top_k", "k": 0}),
        "baselines.1",
        "expected k of top_k ≥ 1, found 0",
    ),
    "half a class": (
        baseline({"kind": "top_k", "k": [2, 2.5]}),
        "baselines.1",
        "expected whole numbers for k of top_k",
    ),
    "any number of classes": (
        baseline({"kind": "top_k", "k": {"low": 1, "high": 5}}),
        "baselines.1",
        "expected whole numbers for k of top_k",
    ),
    "steps of half a decimal": (
        baseline({"kind": "rounding", "decimals": {"low": 0, "high": 5, "step": 0.5}}),
        "baselines.1",
        "expected whole numbers for decimals of rounding",
    ),
    "a searched setting": (
        baseline({"kind": "reverse_sigmoid", "gamma": {"low": 0.1, "high": 1}}),
        "baselines.1",
        "expected a number for gamma of reverse_sigmoid, found several values",
    ),
    "several settings": (
        baseline({"kind": "adaptive_misinformation", "nu": [10, 1000]}),
        "baselines.1",
        "expected a number for nu of adaptive_misinformation, found several values",
    ),
    "a setting of nothing": (
        baseline({"kind": "reverse_sigmoid", "gamma": 0}),
        "baselines.1",
        "expected gamma > 0, found 0",
    ),
    "noise where there is none": (
        baseline({"kind": "mad", "fresh": True}),
        "baselines.1",
        "expected fresh of a randomized defense, found mad, which draws nothing",
    ),
    "a form of another defense": (
        baseline({"kind": "grad2", "epsilon": 1, "layers": "last"}),
        "baselines.1",
        "expected layers only of mad, found it of grad2",
    ),
    "an unknown form": (
        baseline({"kind": "mad", "layers": "first"}),
        "baselines.1.layers",
        "expected 'all' or 'last'",
    ),
    "an unknown pool": (
        baseline({"kind": "adaptive_misinformation", "exposure": "leters"}),
        "baselines.1.exposure",
        "expected a known query pool, one of",
    ),
    "points of what is not searched": (
        baseline({"kind": "mad", "epsilon": [0.5, 1], "points": 2}),
        "baselines.1",
        "expected points beside a range, {low, high}, of the budget, gate or second step",
    ),
    "a gate beyond all confidence": (
        baseline({"kind": "mad", "gate": 1.5}),
        "baselines.1",
        "expected gate of mad in [0, 1], found 1.5",
    ),
    "a gate of text": (
        baseline({"kind": "mad", "gate": "high"}),
        "baselines.1.gate",
        "expected a number, {low, high}, a list of numbers or {choices: […]}, found 'high'",
    ),
    "a gate before nothing": (
        baseline({"kind": "none", "gate": 0.5}),
        "baselines.1",
        "expected no gate, since `none` changes nothing, found one",
    ),
    "a second step after nothing": (
        baseline({"kind": "none", "then": "argmax"}),
        "baselines.1",
        "expected no then, since `none` changes nothing, found one",
    ),
    "a misspelt gate": (
        baseline({"kind": "mad", "gates": 0.5}),
        "baselines.1",
        f"expected a parameter of mad (epsilon, {AROUND}; did you mean gate?), found 'gates'",
    ),
    "an unknown name with a value of text": (
        baseline({"kind": "mad", "margin_by": "entropy"}),
        "baselines.1",
        f"expected a parameter of mad (epsilon, {AROUND}), found 'margin_by'",
    ),
    "a parameter of learned defenses": (
        baseline({"kind": "mad", "rank": 2}),
        "baselines.1",
        f"expected a parameter of mad (epsilon, {AROUND}; rank is of learned defenses: search.space.rank), found "
        "'rank'",
    ),
    "a parameter of nothing": (
        baseline({"kind": "none", "epsilon": 1}),
        "baselines.1",
        "expected no parameter of none, found 'epsilon'",
    ),
    "the top class of the top class": (
        baseline({"kind": "argmax", "then": "argmax"}),
        "baselines.1",
        "expected another second step, since argmax twice is the same as once, found argmax",
    ),
    "a cold gate": (
        baseline({"kind": "mad", "gate": 0.5, "gate_temperature": 0}),
        "baselines.1",
        "expected gate_temperature of mad > 0, found 0",
    ),
    "the temperature of no gate": (
        baseline({"kind": "mad", "gate_temperature": 2}),
        "baselines.1",
        "expected gate beside gate_temperature, found none",
    ),
    "an unknown second step": (
        baseline({"kind": "mad", "then": "topk"}),
        "baselines.1.then",
        "expected a known second step, one of argmax, top_k, rounding",
    ),
    "a second step without its number": (
        baseline({"kind": "mad", "then": "top_k"}),
        "baselines.1",
        "expected then_k beside then: top_k, found none",
    ),
    "the number of another step": (
        baseline({"kind": "mad", "then": "argmax", "then_k": 2}),
        "baselines.1",
        "expected then_k only beside then: top_k, found it beside then: argmax",
    ),
    "the number of no step": (
        baseline({"kind": "mad", "then_decimals": 2}),
        "baselines.1",
        "expected then_decimals only beside then: rounding, found it without then",
    ),
    "half a class in the second step": (
        baseline({"kind": "mad", "then": "top_k", "then_k": 1.5}),
        "baselines.1",
        "expected whole numbers for then_k of mad",
    ),
    "no points": (
        baseline({"kind": "mad", "epsilon": {"low": 0.1, "high": 1}, "points": 0}),
        "baselines.1.points",
        "expected at least 1, found 0",
    ),
    "twice": (baseline("none"), "baselines", "expected each defense once, found none, none"),
    "a gate of a matrix beyond all confidence": (
        learned(gate=2),
        "search.space.gate",
        "expected values in [0, 1], found 2",
    ),
    "gates of a matrix, of which some are": (
        learned(gate={"low": 0.5, "high": 1.5}),
        "search.space.gate",
        "expected values in [0, 1], found 0.5 … 1.5",
    ),
    "the temperature of no gate of a matrix": (
        learned(gate_temperature=2),
        "search.space.gate_temperature",
        "expected gate beside gate_temperature, found none",
    ),
    "the number of no step after a matrix": (
        learned(then_k=2),
        "search.space.then_k",
        "expected then_k only beside then: top_k, found it without then",
    ),
    "less than one class after a matrix": (
        learned({"then": "top_k"}, then_k=0),
        "search.space.then_k",
        "expected values ≥ 1, found 0",
    ),
    "half a class after a matrix": (
        learned({"then": "top_k"}, then_k=1.5),
        "search.space.then_k",
        "expected a whole number, a list of them or {choices: […]}, found 1.5",
    ),
    "any number of classes after a matrix": (
        learned({"then": "top_k"}, then_k={"low": 1, "high": 3}),
        "search.space.then_k",
        "expected a whole number, a list of them or {choices: […]}, found {low: 1, high: 3}",
    ),
    "a second step after a matrix without its number": (
        learned({"then": "top_k"}),
        "search.space.then_k",
        "expected then_k beside then: top_k, found none",
    ),
    "an unknown second step after a matrix": (
        learned({"then": "mad"}),
        "defense.then",
        "expected a known second step, one of argmax, top_k, rounding",
    ),
    "a second step in the space": (learned(then="argmax"), "search.space.then", "expected a known key"),
    "a gate outside the space": (
        learned({"gate": 0.8}),
        "defense.gate",
        "expected search.space.gate instead, found 0.8",
    ),
    "a step size outside the space": (
        learned({"lr_gamma": 0.8}),
        "defense.lr_gamma",
        "expected search.space.lr_gamma instead, found 0.8",
    ),
}


@pytest.mark.parametrize(("changes", "place", "said"), WRONG.values(), ids=WRONG)
def test_one_line_names_the_place_and_what_was_expected(tmp_path, changes, place, said):
    path = written(tmp_path, "none", **changes)
    with pytest.raises(StudyError) as raised:
        load_study(path)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{path}:")
    _, _, finding = line.partition(f": {place}: ")
    assert finding == said if ", found " in said else finding.startswith(said)
    assert ", found " in finding


def test_the_line_in_the_file_is_that_of_the_entry(tmp_path):
    path = written(tmp_path, "none", {"kind": "mad", "epsilon": "much"})
    lines = path.read_text().splitlines()
    with pytest.raises(StudyError) as raised:
        load_study(path)
    assert str(raised.value).startswith(f"{path}:{1 + lines.index('  epsilon: much')}: baselines.1.epsilon: ")


def test_a_continuous_budget_does_not_go_with_the_grid(tmp_path):
    entry = {"kind": "mad", "epsilon": {"low": 0.1, "high": 1}}
    with pytest.raises(StudyError, match=r"baselines\.1: expected finitely many values for the grid sampler"):
        load_study(written(tmp_path, "none", entry, **GRID))


def test_an_attacker_who_knows_a_matrix_is_not_alone(tmp_path):
    attackers = {"inverse": {}, "late": {"kind": "forward"}}
    with pytest.raises(StudyError, match="attackers: expected an attacker with `when: always` that needs no"):
        load_study(written(tmp_path, "none", attackers=attackers))
    assert load_study(written(tmp_path, "none", attackers={**attackers, "soft": {}})).attackers.keys() == {
        *attackers,
        "soft",
    }


@pytest.mark.parametrize("name", ["unknown", "no kind", "a number", "nothing", "a misspelt setting",
                                  "a budget of text", "a budget that is true", "no value at all", "no points",
                                  "a misspelt range"])  # fmt: skip
def test_the_schema_refuses_what_makes_no_sense_anywhere(name):
    assert not of_the_schema(WRONG[name][0]["baselines"])
