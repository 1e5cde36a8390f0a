"""The sampler of `gp`: its models find what they are told, and its gain is that of the hypervolume."""

from __future__ import annotations

import itertools

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from emma_tune.search.gain_sampler import PLACES, GainSampler, Known, _Model
from emma_tune.search.gaussian_process import ENOUGH, GaussianProcess

BOX = [(0.0, 1.0), (0.0, 1.0)]
SPACE = {
    "x": FloatDistribution(0.01, 1.0, log=True),
    "y": FloatDistribution(-1.0, 1.0),
    "z": CategoricalDistribution((0, 5, 2)),
}


def cloud(count: int, dimensions: int = 2) -> np.ndarray:
    return np.random.default_rng(0).random((count, dimensions))


def test_a_model_finds_a_function_amid_noise_and_knows_where_it_knows_little():
    points = cloud(80) * [0.5, 1.0]
    values = 3 + np.sin(3 * points[:, 0]) + 0.1 * np.random.default_rng(1).standard_normal(80)
    model = GaussianProcess(points, values)
    inside, outside = np.array([[0.25, 0.5]]), np.array([[1.0, 0.5]])
    mean, deviation, moved = model.predict(inside)
    assert mean[0] == pytest.approx(3 + np.sin(0.75), abs=0.1)
    assert deviation[0] < 0.1
    assert moved[0] < deviation[0] < model.predict(outside)[1][0]
    assert model.means(inside) == pytest.approx(mean)


def test_all_points_count_however_many_there_are():
    points = cloud(ENOUGH + 60)
    values = points[:, 0].copy()
    lonely = len(points) - 2  # is not among those that the hyperparameters are of
    values[lonely] += 0.5
    untold = GaussianProcess(np.delete(points, lonely, axis=0), np.delete(values, lonely))
    assert GaussianProcess(points, values).means(points[[lonely]]) > untold.means(points[[lonely]])


def test_equal_values_differ_by_rounding_alone_and_say_nothing_of_their_scale():
    values = np.full(10, 0.3)
    values[3] = np.nextafter(0.3, 1)
    assert GaussianProcess(cloud(10), values).predict(cloud(1))[1][0] > 1e-4


def test_the_gain_is_the_volume_that_a_point_adds():
    """Without noise, a point on the line from (0, 1) to (1, 0) adds a rectangle to those of its two neighbors."""
    known = np.array([[0.0], [0.2], [0.4], [0.6], [0.7], [0.8], [0.9], [1.0]])
    losses = np.hstack([known, 1 - known])
    model = _Model(Known(known, losses, np.empty((8, 0))), np.empty((0, 1)), np.zeros(2), np.ones(2), seed=0)
    gains = model.gains(np.array([[0.1], [0.3], [0.5], [0.65]])) / PLACES
    assert gains == pytest.approx([0.01, 0.01, 0.01, 0.0025], abs=0.006)
    assert gains[3] < gains[:3].min()


def test_what_is_beyond_a_limit_gains_nothing():
    points = cloud(40)
    losses = np.stack([points[:, 0], 1 - points[:, 0]], axis=1)
    excess = 5 * (points[:, [1]] - 0.5)
    model = _Model(Known(points, losses, excess), np.empty((0, 2)), np.zeros(2), np.ones(2), seed=0)
    kept, beyond = model.gains(np.array([[0.5, 0.2], [0.5, 0.9]]))
    assert beyond < 0.05 * kept


def told(space, measure, count: int, order=lambda trials: trials) -> optuna.Study:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.QMCSampler(seed=0))
    for _ in range(count):
        trial = study.ask(space)
        trial.set_user_attr("point", trial.number)
        study.tell(trial, measure(trial.params))
    return study


def measure(params) -> list[float]:
    """Half of the box for x = 0.1, y = 0, z = 2, less the further away."""
    away = abs(np.log10(params["x"]) + 1) + abs(params["y"]) + abs(params["z"] - 2) / 5
    return [0.5, min(1.0, 0.2 + 0.3 * away)]


def test_a_proposal_is_near_the_optimum_and_lies_in_the_space():
    study = told(SPACE, measure, 30)
    study.sampler = GainSampler(BOX, seed=1)
    params = study.ask(SPACE).params
    assert all(SPACE[name]._contains(SPACE[name].to_internal_repr(value)) for name, value in params.items())
    assert measure(params)[1] < 0.3
    assert params["z"] == 2


def test_it_proposes_the_same_again_in_whatever_order_choices_are_written():
    proposed = []
    for choices in [(0, 2, 5), (5, 0, 2)]:
        space = {**SPACE, "z": CategoricalDistribution(choices)}
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=GainSampler(BOX, seed=3))
        for x, y, z in itertools.product((0.02, 0.5), (-0.8, 0.7), (0, 5)):
            params = {"x": x, "y": y, "z": z}
            values, told_of = measure(params), {"point": len(study.trials)}
            study.add_trial(create_trial(params=params, distributions=space, values=values, user_attrs=told_of))
        proposed.append(study.ask(space).params)
    assert proposed[0] == proposed[1]


def test_points_under_way_are_not_proposed_again():
    study = told(SPACE, measure, 12)
    study.sampler = GainSampler(BOX, seed=1)
    first = study.ask(SPACE)
    first.set_user_attr("point", 12)
    assert study.ask(SPACE).params != first.params


@pytest.mark.parametrize("count", [0, 1])
def test_with_too_few_points_it_draws_at_random(count):
    study = told(SPACE, measure, count)
    study.sampler = GainSampler(BOX, seed=1)
    assert study.ask(SPACE).params.keys() == SPACE.keys()
