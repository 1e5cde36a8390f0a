"""Optuna's sampler for `gp`: the point that promises the largest gain of hypervolume.

Optuna's own GPSampler was tried on recorded points (tests/benchmarks/RESULTS.md). It learns nothing about one
value of a list from the others, takes the luckiest measurements for the front, and counts up to another corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial import cKDTree
from scipy.stats import norm
from scipy.stats.qmc import Sobol

from emma_tune.results.front import dominating, nondominated
from emma_tune.search.gaussian_process import Array, GaussianProcess
from emma_tune.search.spaces import at_quantile, unit_place

CANDIDATES = 1024
"""Candidates all over the space; a power of 2."""

NEARBY, STEP = 32, 0.07
"""Candidates near each point of the front, and how far from it, as a share of each dimension."""

APART = 0.02
"""Distance from every known point, in the dimension where it is largest, below which a candidate is left out."""

PLACES = 1024
"""Places of the box at which a gain is integrated; a power of 2."""

EXCESS = 0.02
"""Scale of what is beyond a limit: far more than that is all the same."""


class Known(NamedTuple):
    """What is known of N points in a space of d dimensions, with D objectives.

    Attributes:
        points: (N, d), each coordinate in [0, 1].
        losses: (N, D), to minimize.
        excess: (N, C), beyond each of C limits; 0 is on it.
    """

    points: Array
    losses: Array
    excess: Array


class GainSampler(BaseSampler):
    """Proposes the point whose measurement is expected to raise the hypervolume of the front most.

    Args:
        box: best and worst value of each objective; the box in which hypervolume is counted.
        seed: of all that is drawn.
    """

    def __init__(self, box: Sequence[tuple[float, float]], seed: int) -> None:
        self._box = box
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of the trials so far."""
        return optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose a point by what is known; nothing, so that it is drawn at random, if that is too little."""
        if not search_space:
            return {}
        trials = [of for of in study.get_trials(deepcopy=False) if search_space.keys() <= of.params.keys()]
        trials.sort(key=lambda of: of.user_attrs["point"])  # a resumed run tells them in another order
        finished = [of for of in trials if of.state == TrialState.COMPLETE]
        if len(finished) < 2:
            return {}
        signs = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
        limits = sorted({name for of in finished for name in of.constraints})
        known = Known(
            np.array([unit_place(search_space, of.params) for of in finished]),
            np.array([of.values for of in finished]) * signs,
            np.array([[np.arcsinh(of.constraints.get(n, 0.0) / EXCESS) for n in limits] for of in finished]),
        )
        here = [unit_place(search_space, of.params) for of in trials if of.state == TrialState.RUNNING]
        open_points = np.array(here).reshape(-1, len(search_space))
        best, worst = (np.array(corner) * signs for corner in zip(*self._box, strict=True))
        return self._propose(search_space, _Model(known, open_points, best, worst, self._seed))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter at random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, space: Mapping[str, BaseDistribution], model: _Model) -> dict[str, Any]:
        chance = np.random.default_rng(self._seed)
        spread = Sobol(len(space), seed=self._seed).random(CANDIDATES)
        around = np.repeat(model.front_points, NEARBY, axis=0)
        around = around + STEP * chance.standard_normal(around.shape)
        quantiles = np.clip(np.concatenate([spread, around]), 0, 1 - 1e-9)
        candidates = [
            {name: at_quantile(of, float(u)) for (name, of), u in zip(space.items(), row, strict=True)}
            for row in quantiles
        ]
        points = np.array([unit_place(space, of) for of in candidates])
        gains = model.gains(points)
        near = cKDTree(model.here).query(points, p=np.inf)[0] < APART
        return candidates[int(np.where(near, gains - gains.max() - 1, gains).argmax())]


class _Model:
    """Models of all objectives and limits, and the front by their means: not by lucky measurements."""

    def __init__(self, known: Known, open_points: Array, best: Array, worst: Array, seed: int) -> None:
        self.here = np.concatenate([known.points, open_points])
        self._objectives = [GaussianProcess(known.points, of) for of in known.losses.T]
        self._limits = [GaussianProcess(known.points, of) for of in known.excess.T]
        losses = np.stack([of.means(self.here) for of in self._objectives], axis=1)
        kept = np.all([of.means(self.here) <= 0 for of in self._limits], axis=0) & np.ones(len(losses), dtype=bool)
        on_front = np.flatnonzero(kept)[nondominated(losses[kept])]
        self.front_points = self.here[on_front]
        places = best + (worst - best) * Sobol(len(best), seed=seed).random(PLACES)
        self._places = places[~dominating(losses[on_front], places).any(axis=1)]

    def gains(self, points: Array) -> Array:
        """Compute by how much measuring points (M, d) is expected to raise the hypervolume, up to a factor: (M,).

        That is an integral over the places of the box that nothing dominates yet, of the probability that the
        point will dominate the place and keep the limits.
        """
        dominates = np.ones((len(points), len(self._places)))
        for model, of in zip(self._objectives, self._places.T, strict=True):
            mean, _, moved = model.predict(points)
            dominates *= norm.cdf((of[None] - mean[:, None]) / moved[:, None])
        gains: Array = dominates.sum(axis=1)
        for model in self._limits:
            mean, deviation, _ = model.predict(points)
            gains *= norm.cdf(-mean / deviation)
        return gains
