"""The rank of a learned matrix and the attackers it is learned against, from the study file to the task."""

from __future__ import annotations

import re

import pytest

from emma_tune.plan import Planner, Point
from emma_tune.plan.materials.checks import check_rank
from emma_tune.stages import MatrixSettings, Sizes
from emma_tune.study.file import StudyError, load_study
from tests.study.files import changed

IMAGES = {"victim": "a", "queries": "b"}
PARAMS = {"lambda": 0.03, "lr_gamma": 0.3, "st_epoch": 2}


def planned(tmp_path, changes=None, **params) -> MatrixSettings:
    study = load_study(changed(tmp_path, changes or {}))
    plan = Planner(study, IMAGES).point(Point(0, "emma", {**PARAMS, **params}))
    (config,) = (task.config for task in plan.tasks.values() if task.stage == "matrix")
    assert isinstance(config, MatrixSettings)
    return config


def test_what_is_left_out_is_in_no_recipe(tmp_path):
    recipe = planned(tmp_path).model_dump(mode="json", by_alias=True)
    assert not {"rank", "against", "params"} & recipe.keys()
    assert planned(tmp_path, {"defense.against": {"soft": 3}}) == planned(tmp_path)
    study = load_study(changed(tmp_path, {}))
    assert "rank" not in {of.name for of in study.parameters}
    assert "against" not in study.model_dump(mode="json")["defense"]


def test_rank_and_shares_of_attackers_reach_the_matrix(tmp_path):
    changes = {"search.space.rank": [1, 4], "defense.against": {"soft": 1, "inverse": 3}}
    config = planned(tmp_path, changes, rank=4)
    assert (config.rank, config.against) == (4, {"inverse": 0.75, "soft": 0.25})
    assert config.params == {}
    twice = {**changes, "defense.against": {"inverse": 6, "soft": 2}}
    assert planned(tmp_path, twice, rank=4) == config
    study = load_study(changed(tmp_path, changes))
    assert study.search.space.dimensions["rank"].grid() == (1, 4)
    assert "rank" in {of.name for of in study.parameters}


def test_every_surrogate_costs_as_much_as_the_first(tmp_path):
    sizes = {"train": 0, "validation": 0, "test": 0, "queries": 100, "classes": 10}

    def passes(against):
        return planned(tmp_path, {"defense.against": against}).passes(Sizes(**sizes), epochs=3)[1]

    alone = passes({"soft": 1})
    assert passes({"soft": 1, "bayes": 1}) == 2 * alone
    assert passes({"bayes": 1}) == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.space.rank": 0}, "search.space.rank: expected values ≥ 1, found 0"),
        (
            {"search.space.rank": 2.5},
            "search.space.rank: expected a whole number, a list of them or {choices: […]}",
        ),
        (
            {"search.space.rank": {"low": 1, "high": 5}},
            "search.space.rank: expected a whole number, a list of them or {choices: […]}, found {low: 1, ",
        ),
        ({"search.space.rank": True}, "search.space.rank: expected a whole number"),
        ({"search.space.rank": []}, "search.space.rank.choices: expected at least one value"),
        ({"defense.against": {"hard": 1}}, "one of soft, inverse, bayes, found 'hard'"),
        ({"defense.against": {"bayes": 0}}, "defense.against.bayes: expected greater than 0, found 0"),
        ({"defense.against": {"bayes": float("nan")}}, "defense.against.bayes: expected a finite number"),
        ({"defense.against": {}}, "defense.against: expected at least one value"),
        ({"defense.against": "bayes"}, "defense.against: expected a mapping, found 'bayes'"),
        ({"defense.against": {"inverse": 1}}, "defense.against.inverse: expected search.space.rank beside it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(StudyError) as error:
        load_study(changed(tmp_path, changes))
    (line,) = str(error.value).splitlines()
    assert message in line


@pytest.mark.parametrize("rank", [11, [2, 11]])
def test_a_rank_above_the_number_of_classes_is_refused_where_it_is_known(tmp_path, rank):
    study = load_study(changed(tmp_path, {"search.space.rank": rank}))
    with pytest.raises(
        StudyError, match=r"search\.space\.rank: expected at most 10, one for each class, found 11"
    ):
        check_rank(study, 10)
    check_rank(study, 11)
    check_rank(load_study(changed(tmp_path, {})), 2)


@pytest.mark.parametrize("rank", [10, [2, 10]])
def test_full_rank_is_refused_where_it_is_learned_against_who_inverts_it(tmp_path, rank):
    study = load_study(
        changed(tmp_path, {"search.space.rank": rank, "defense.against": {"soft": 1, "inverse": 1}})
    )
    expected = (
        "search.space.rank: expected less than 10 beside defense.against.inverse, since the inverse of a T of "
        "full rank gives p back, found 10"
    )
    with pytest.raises(StudyError, match=re.escape(expected)):
        check_rank(study, 10)
    check_rank(study, 11)


def test_a_dry_run_refuses_it_in_one_line(emma, tmp_path):
    ended = emma.here("run", changed(tmp_path, {"search.space.rank": 11}), "--dry-run")
    assert ended.exit_code == 2
    assert "search.space.rank: expected at most 10, one for each class, found 11" in ended.stderr
