"""Defences: what is released instead of the clean posteriors p. One file each, one entry each in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the table is read where nothing is computed
    from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """The budget of a defence: how much it may distort.

    Attributes:
        name: as it stands in a study. `epsilon` is a promise: no answer is further than that from p, in L1.
        low: smallest value.
        high: largest value; None if there is none.
        grid: evaluated where a study names the defence only.
        identity: the value at which p' = p; None if there is none.
        whole: whether only whole numbers make sense.
    """

    name: str
    low: float
    high: float | None
    grid: tuple[float, ...]
    identity: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Baseline:
    """A defence beside the searched matrix.

    Attributes:
        where: `module:function`. Of a linear defence (K, params, generator) → T, (K, K); of any other
            (posteriors (N, K), params) → responses (N, K), with `seeds` and `guidance` where it takes them.
        parameter: its budget; None if there is nothing to choose.
        settings: its other parameters, with their usual values.
        linear: p' = pT for some T.
        randomized: takes `seeds`, one a query, (N,) int64.
        guided: takes `guidance`, (N, K): what the guidance stage found out about each query by the network of
            this stage, `surrogate` or `misinformer`; None if it takes none.
    """

    where: str
    parameter: Parameter | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    linear: bool = False
    randomized: bool = False
    guided: str | None = None

    @property
    def function(self) -> Callable[..., Tensor]:
        """What lives at `where`."""
        module, _, name = self.where.partition(":")
        return cast("Callable[..., Tensor]", getattr(import_module(module), name))


def _epsilon(*grid: float) -> Parameter:
    return Parameter("epsilon", low=0, high=2, grid=grid, identity=0)


def _share(*grid: float) -> Parameter:
    return Parameter("a", low=0, high=1, grid=grid, identity=0)


_HERE = "emma_tune.defenses"

BASELINES: dict[str, Baseline] = {
    "none": Baseline(f"{_HERE}.none:release"),
    "argmax": Baseline(f"{_HERE}.argmax:release"),
    "top_k": Baseline(f"{_HERE}.top_k:release", Parameter("k", low=1, high=None, grid=(2, 3, 5), whole=True)),
    "rounding": Baseline(
        f"{_HERE}.rounding:release", Parameter("decimals", low=0, high=6, grid=(0, 1, 2), whole=True)
    ),
    "gaussian": Baseline(
        f"{_HERE}.gaussian:release",
        Parameter("sigma", low=0, high=None, grid=(0.05, 0.2, 0.5), identity=0),
        randomized=True,
    ),
    "random_mix": Baseline(f"{_HERE}.random_mix:release", _epsilon(0.25, 0.5, 1), randomized=True),
    "reverse_sigmoid": Baseline(
        f"{_HERE}.reverse_sigmoid:release",
        Parameter("beta", low=0, high=2, grid=(0.1, 0.4, 0.8), identity=0),
        settings={"gamma": 0.2},
    ),
    "adaptive_misinformation": Baseline(
        f"{_HERE}.adaptive_misinformation:release",
        Parameter("tau", low=0, high=1, grid=(0.5, 0.9, 0.99), identity=0),
        settings={"nu": 1000},
        guided="misinformer",
    ),
    "mad": Baseline(f"{_HERE}.mad:release", _epsilon(0.25, 0.5, 1), guided="surrogate"),
    "grad2": Baseline(f"{_HERE}.grad2:release", _epsilon(0.25, 0.5, 1), guided="surrogate"),
    "modelguard_w": Baseline(f"{_HERE}.modelguard_w:release", _epsilon(0.25, 0.5, 1)),
    "uniform": Baseline(f"{_HERE}.uniform:matrix", _share(0.25, 0.5, 0.75), linear=True),
    "permutation": Baseline(f"{_HERE}.permutation:matrix", _share(0.15, 0.3, 0.45), linear=True),
    "random_matrix": Baseline(f"{_HERE}.random_matrix:matrix", _share(0.25, 0.5, 0.75), linear=True),
}
"""By name. `uniform`, `permutation` and `random_matrix` are controls: matrices that nobody has learned."""

CONTROLS = ("uniform", "permutation", "random_matrix")
"""What a learned matrix must beat for learning to be the cause."""


def release(
    kind: str,
    params: Mapping[str, float],
    posteriors: Tensor,
    *,
    seeds: Tensor | None = None,
    guidance: Tensor | None = None,
) -> Tensor:
    """Answers under a baseline defence that is not linear.

    Args:
        kind: one of `BASELINES`.
        params: budget and settings, by name.
        posteriors: p, (N, K).
        seeds: of each query, (N,) int64, for a randomized defence.
        guidance: (N, K), for a guided one.

    Returns:
        p', (N, K) distributions.
    """
    baseline = BASELINES[kind]
    extra: dict[str, Tensor | None] = {}
    if baseline.randomized:
        extra["seeds"] = seeds
    if baseline.guided:
        extra["guidance"] = guidance
    return baseline.function(posteriors, **params, **extra)


def control_matrix(kind: str, params: Mapping[str, float], classes: int, *, seed: int) -> Tensor:
    """T of a linear baseline.

    Args:
        kind: one of `BASELINES` that is linear.
        params: its budget, by name.
        classes: K.
        seed: of what is drawn.

    Returns:
        (K, K) row-stochastic.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return BASELINES[kind].function(classes, generator=generator, **params)
