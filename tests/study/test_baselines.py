"""The defenses beside the searched matrix: how a study names them, and which points that makes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from emma_tune.defenses import BASELINES
from emma_tune.study import Dimension, Study
from emma_tune.study.file import load_study
from tests.conftest import TINY, merged

POINTS = TINY["search"]["points"]
SPACE = {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 0}
GRID = {"search": {"sampler": "grid", "space": SPACE}}


def written(folder: Path, *entries: Any, **changes: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(merged(TINY, {"baselines": list(entries), **changes}), sort_keys=False))
    return path


# --- forms ------------------------------------------------------------------------------------------------

FIXED: dict[str, tuple[Any, list[dict[str, float | bool | str]]]] = {
    "a name without a budget": ("none", [{}]),
    "a name: the budget's own grid": ("mad", [{"epsilon": 0.25}, {"epsilon": 0.5}, {"epsilon": 1.0}]),
    "its kind alone": ({"kind": "top_k"}, [{"k": 2}, {"k": 3}, {"k": 5}]),
    "a number": ({"kind": "uniform", "a": 0.125}, [{"a": 0.125}]),
    "the smallest": ({"kind": "top_k", "k": 1}, [{"k": 1}]),
    "the largest": ({"kind": "grad2", "epsilon": 2}, [{"epsilon": 2}]),
    "a number that YAML takes for text": ({"kind": "gaussian", "sigma": "5e-2"}, [{"sigma": 0.05}]),
    "a list": ({"kind": "random_mix", "epsilon": [1, 0.25]}, [{"epsilon": 1}, {"epsilon": 0.25}]),
    "choices": ({"kind": "rounding", "decimals": {"choices": [0, 6]}}, [{"decimals": 0}, {"decimals": 6}]),
    "a value": ({"kind": "permutation", "a": {"value": 0.5}}, [{"a": 0.5}]),
    "settings as they are": (
        {"kind": "reverse_sigmoid", "beta": 0.5},
        [{"beta": 0.5, "gamma": 0.2}],
    ),
    "a setting, and the budget's own grid": (
        {"kind": "adaptive_misinformation", "nu": 10},
        [{"tau": 0.5, "nu": 10}, {"tau": 0.9, "nu": 10}, {"tau": 0.99, "nu": 10}],
    ),
    "new noise for each answer": (
        {"kind": "gaussian", "sigma": [0.1, 0.2], "fresh": True},
        [{"sigma": 0.1, "fresh": True}, {"sigma": 0.2, "fresh": True}],
    ),
    "another form": (
        {"kind": "mad", "epsilon": 0.5, "layers": "last", "surrogate": "untrained"},
        [{"epsilon": 0.5, "layers": "last", "surrogate": "untrained"}],
    ),
    "a form that is a number": (
        {"kind": "modelguard_w", "epsilon": [0.5, 1], "floor": 1e-6},
        [{"epsilon": 0.5, "floor": 1e-6}, {"epsilon": 1, "floor": 1e-6}],
    ),
    "a form that names images": (
        {"kind": "adaptive_misinformation", "tau": 0.75, "exposure": "letters"},
        [{"tau": 0.75, "nu": 1000, "exposure": "letters"}],
    ),
    "the usual form, said aloud": (
        {"kind": "mad", "epsilon": 0.5, "layers": "all", "surrogate": "trained"},
        [{"epsilon": 0.5}],
    ),
    "noise that stays, said aloud": ({"kind": "gaussian", "sigma": 0.1, "fresh": False}, [{"sigma": 0.1}]),
    "a gate's own grid": ("abstain", [{"gate": 0.5}, {"gate": 0.8}, {"gate": 0.9}]),
    "with a gate and without": (
        {"kind": "random_mix", "epsilon": [0.5, 1], "gate": [0.8, 1]},
        [{"epsilon": 0.5, "gate": 0.8}, {"epsilon": 0.5}, {"epsilon": 1, "gate": 0.8}, {"epsilon": 1}],
    ),
    "a gate that is always open": ({"kind": "mad", "epsilon": 1, "gate": 1}, [{"epsilon": 1}]),
    "temperatures of a gate that is open or not": (
        {"kind": "mad", "epsilon": 1, "gate": [0.5, 1], "gate_temperature": [1, 4]},
        [{"epsilon": 1, "gate": 0.5}, {"epsilon": 1, "gate": 0.5, "gate_temperature": 4}, {"epsilon": 1}],
    ),
    "a second step": (
        {"kind": "mad", "epsilon": 1, "then": "top_k", "then_k": [1, 3]},
        [{"epsilon": 1, "then_k": 1, "then": "top_k"}, {"epsilon": 1, "then_k": 3, "then": "top_k"}],
    ),
    "a second step behind a gate": (
        {"kind": "abstain", "gate": 0.5, "then": "argmax"},
        [{"gate": 0.5, "then": "argmax"}],
    ),
}

RANGES: dict[str, tuple[Any, int, dict[str, Any], dict[str, float | bool]]] = {
    "as many as of the matrix": ({"kind": "mad", "epsilon": {"low": 0, "high": 2}}, POINTS, {}, {}),
    "a number of its own": (
        {"kind": "gaussian", "sigma": {"low": 0.01, "high": 9, "log": True}, "points": 7, "fresh": True},
        7,
        {"log": True},
        {"fresh": True},
    ),
    "with a setting": (
        {"kind": "reverse_sigmoid", "beta": {"low": 0, "high": 1}, "gamma": 0.5},
        POINTS,
        {},
        {"gamma": 0.5},
    ),
    "whole numbers": ({"kind": "top_k", "k": {"low": 2, "high": 9, "step": 1}}, POINTS, {"step": 1}, {}),
    "a gate": ({"kind": "abstain", "gate": {"low": 0.2, "high": 1}, "points": 4}, 4, {}, {}),
}


@pytest.mark.parametrize(("entry", "points"), FIXED.values(), ids=FIXED)
def test_numbers_and_lists_are_points_that_need_no_proposal(tmp_path, entry, points):
    study = load_study(written(tmp_path, "argmax", entry))
    kind = entry if isinstance(entry, str) else entry["kind"]
    assert study.fixed == (("argmax", {}), *((kind, params) for params in points))
    assert study.searches.keys() == {"emma"}
    assert study.proposals == POINTS


@pytest.mark.parametrize(("entry", "proposals", "scale", "settings"), RANGES.values(), ids=RANGES)
def test_a_range_is_searched_beside_the_matrix(tmp_path, entry, proposals, scale, settings):
    study = load_study(written(tmp_path, "none", entry))
    (name,) = (key for key, value in entry.items() if isinstance(value, dict))
    found = study.searches[entry["kind"]]
    assert list(study.searches) == ["emma", entry["kind"]]
    assert (found.proposals, found.settings) == (proposals, settings)
    low, high = entry[name]["low"], entry[name]["high"]
    assert found.space == {name: Dimension(low=low, high=high, **scale)}
    assert study.fixed == (("none", {}),), "nothing of it is there before it is proposed"
    assert study.proposals == POINTS + proposals


def test_a_range_makes_gate_and_second_step_dimensions_of_the_search(tmp_path):
    budget, step = {"low": 0, "high": 2}, {"then": "rounding", "then_decimals": [0, 1]}
    study = load_study(written(tmp_path, {"kind": "mad", "epsilon": budget, "gate": [0.5, 1], **step}))
    found = study.searches["mad"]
    assert found.space == {
        "epsilon": Dimension(**budget),
        "gate": Dimension(choices=(0.5, 1)),
        "then_decimals": Dimension(choices=(0, 1)),
    }
    assert found.settings == {"then": "rounding"}
    assert study.fixed == ()


@pytest.mark.parametrize(
    ("space", "defense", "dimensions", "settings"),
    [
        ({"gate": 0.8}, {}, {"gate"}, {}),
        ({"gate": 1}, {}, set(), {}),
        ({"gate": {"low": 0.5, "high": 1}, "gate_temperature": {"low": 1, "high": 4}}, {},
         {"gate", "gate_temperature"}, {}),
        ({"then_k": [1, 2]}, {"then": "top_k"}, {"then_k"}, {"then": "top_k"}),
        ({}, {"then": "argmax"}, set(), {"then": "argmax"}),
    ],
)  # fmt: skip
def test_a_learned_defense_has_gate_and_second_step_in_its_space(tmp_path, space, defense, dimensions, settings):
    changes = {"search": {"space": {**SPACE, **space}}, "defense": defense}
    found = load_study(written(tmp_path, "none", **changes)).searches["emma"]
    assert found.space.keys() - SPACE.keys() == dimensions
    assert found.settings == settings


def test_every_defense_can_be_named_alone_and_then_has_its_own_grid(tmp_path):
    study = load_study(written(tmp_path, *BASELINES))
    expected = [
        (name, ({known.budget.name: value} if known.budget else {}) | dict(known.settings))
        for name, known in BASELINES.items()
        for value in (known.budget.grid if known.budget else (None,))
    ]
    assert list(study.fixed) == expected
    assert len(expected) == 2 + 13 * 3


@pytest.mark.parametrize(("points", "proposals"), [(None, 2), (1, 1), (9, 4)])
def test_a_grid_has_no_more_points_than_values(tmp_path, points, proposals):
    own = {"points": points} if points else {}
    entry = {"kind": "mad", "epsilon": {"low": 0.1, "high": 1, "step": 0.3}, **own}
    study = load_study(written(tmp_path, entry, **GRID))
    assert {name: search.proposals for name, search in study.searches.items()} == {"emma": 1, "mad": proposals}
    assert study.proposals == 1 + proposals


def test_a_study_without_baselines_has_the_undefended_victim_and_may_have_none_at_all(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in TINY.items() if key != "baselines"}))
    assert load_study(path).fixed == (("none", {}),)
    assert load_study(written(tmp_path)).fixed == ()


def test_guided_stages_take_what_their_like_takes_where_the_study_says_nothing(tmp_path):
    shares = {"victim": {"cpu": 2}, "surrogate": {"cpu": 1, "gpu": 0.5}}
    study = load_study(written(tmp_path, "mad", resources=shares))
    assert study.share("misinformer") == study.share("victim")
    assert study.share("guidance") == study.share("surrogate")
    own = load_study(written(tmp_path, "mad", resources={**shares, "guidance": {"cpu": 4}}))
    assert own.share("guidance").cpu == 4
    assert load_study(written(tmp_path, "mad")).share("guidance").cpu == 1


# --- as others read it ------------------------------------------------------------------------------------

ACCEPTED = {name: entry for name, (entry, *_) in (*FIXED.items(), *RANGES.items())}


@pytest.mark.parametrize("entry", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_written_down_of_a_study_is_read_back_as_it_was(tmp_path, entry):
    study = load_study(written(tmp_path, "argmax", entry))
    content = json.loads(json.dumps(study.model_dump(mode="json", by_alias=True)))
    again = Study.model_validate(content)
    assert again == study
    assert (again.fixed, again.searches) == (study.fixed, study.searches)


@cache
def validator() -> Draft202012Validator:
    """For the field `baselines` of the schema."""
    schema = Study.model_json_schema(by_alias=True)
    return Draft202012Validator({"$defs": schema["$defs"], **schema["properties"]["baselines"]})


def of_the_schema(entries: list[Any]) -> bool:
    return validator().is_valid(entries)


@pytest.mark.parametrize("entry", ACCEPTED.values(), ids=ACCEPTED)
def test_the_schema_knows_every_form(tmp_path, entry):
    if entry != FIXED["a number that YAML takes for text"][0]:  # YAML's own readers take it for a number
        assert of_the_schema(["argmax", entry])
    study = load_study(written(tmp_path, entry))
    dumped = study.model_dump(mode="json", by_alias=True)["baselines"]
    assert of_the_schema(dumped), "and not only as it was written"


@pytest.mark.parametrize("name", BASELINES)
def test_the_schema_knows_every_defense(name):
    known = BASELINES[name]
    assert of_the_schema([name])
    numbers = dict.fromkeys([*([known.budget.name] if known.budget else []), *known.settings], 1)
    assert of_the_schema([{"kind": name, **numbers}])
