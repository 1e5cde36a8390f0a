"""Defenses: what is released instead of the clean posteriors p. One file each, one row each in this table.

A defense is a function of posteriors, row by row. It knows neither images, networks nor studies; what it must
learn first is the work of a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from emma_tune.defenses.around import AROUND, CLASSES, DECIMALS, GATE, around_params, own_params
from emma_tune.defenses.parameter import Parameter as Parameter

if TYPE_CHECKING:  # the table is read where nothing is computed
    from torch import Tensor

    from emma_tune.defenses.objective import Objective


@dataclass(frozen=True)
class Defense:
    """A defense.

    Attributes:
        where: `module:function`. Of a learned defense (posteriors (N, K), T, params) → responses (N, K). Of a
            linear one that is not learned (K, params, generator) → T, (K, K). Of any other (posteriors (N, K),
            params) → responses (N, K), with `seeds` and `guidance` where it takes them.
        parameters: of a learned defense all that is searched; of a baseline its budget, if there is one to choose.
            Those of `around` apply to every baseline besides.
        settings: its other parameters, with their usual values.
        forms: fields of `Baseline` that choose another published form of it. At their defaults they are in no
            point's parameters, and so in no key.
        linear: p' = pT for some T.
        randomized: takes `seeds`, one a query, (N,) int64.
        guided: takes `guidance`, (N, K): what the guidance stage found out about each query by the network of
            this stage, `surrogate` or `misinformer`; None if it takes none.
        objective: of a learned defense `module:function`: (release, params) → `Objective`; None if nothing is
            learned. T begins as the identity, and is projected as EMMA's is.
    """

    where: str
    parameters: tuple[Parameter, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    forms: tuple[str, ...] = ()
    linear: bool = False
    randomized: bool = False
    guided: str | None = None
    objective: str | None = None

    @property
    def learned(self) -> bool:
        """Whether a matrix is optimized for it, by parameters that are searched."""
        return self.objective is not None

    @property
    def function(self) -> Callable[..., Tensor]:
        """The function at `where`."""
        return cast("Callable[..., Tensor]", resolve_name(self.where))

    @property
    def objective_function(self) -> Callable[..., Objective]:
        """The function at `objective`."""
        assert self.objective is not None, "only a learned defense has an objective"
        return cast("Callable[..., Objective]", resolve_name(self.objective))

    @property
    def budget(self) -> Parameter | None:
        """The parameter of a baseline that says how much it may distort, if it has one."""
        return self.parameters[0] if self.parameters and not self.learned else None

    def release_of(self, params: Mapping[str, float | str]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return how a learned defense releases answers where it acts: (posteriors, T) → responses."""
        return partial(self.function, **own_params(self.release_params(params)))

    def release_params(self, params: Mapping[str, Any]) -> dict[str, float | str]:
        """Select the parameters that the release of a learned defense takes, and what stands around it."""
        taken = {of.name: float(params[of.name]) for of in self.parameters if of.release and of.name in params}
        return {**taken, **around_params(params)}


def _epsilon(*grid: float) -> tuple[Parameter]:
    return (Parameter("epsilon", low=0, high=2, grid=grid, identity=0),)


def _share(*grid: float) -> tuple[Parameter]:
    return (Parameter("a", low=0, high=1, grid=grid, identity=0),)


OPTIMIZATION = (
    Parameter("lr_gamma", low=0, high=None, above=True, about="step size of the matrix, > 0", usual=0.3),
    Parameter(
        "st_epoch",
        low=0,
        high=None,
        epochs=True,
        about="epochs the surrogate is trained before the matrix, ≥ 0",
        usual=20,
    ),
    Parameter(
        "rank",
        low=1,
        high=None,
        whole=True,
        optional=True,
        about="rank r of the matrix, T = AB with A K×r and B r×K; default: K, any T",
    ),
    *AROUND,
)
"""Parameters of every learned defense: how its matrix is optimized, and what stands around it.

Usual values, here and of λ, are the defaults of the reference's code.
"""

_HERE = "emma_tune.defenses"

UNDEFENDED = "none"
"""The name of the row that releases p as it is."""

DEFENSES: dict[str, Defense] = {
    "emma": Defense(
        f"{_HERE}.emma:release",
        (
            Parameter("lambda", low=0, high=1, about="weight λ of staying useful, in [0, 1]", usual=0.01),
            *OPTIMIZATION,
        ),
        linear=True,
        objective=f"{_HERE}.emma:objective",
    ),
    UNDEFENDED: Defense(f"{_HERE}.none:release"),
    "argmax": Defense(f"{_HERE}.argmax:release"),
    "top_k": Defense(f"{_HERE}.top_k:release", (CLASSES,)),
    "rounding": Defense(f"{_HERE}.rounding:release", (DECIMALS,)),
    "abstain": Defense(f"{_HERE}.abstain:release", (replace(GATE, grid=(0.5, 0.8, 0.9)),)),
    "gaussian": Defense(
        f"{_HERE}.gaussian:release",
        (Parameter("sigma", low=0, high=None, grid=(0.05, 0.2, 0.5), identity=0),),
        randomized=True,
    ),
    "random_mix": Defense(f"{_HERE}.random_mix:release", _epsilon(0.25, 0.5, 1), randomized=True),
    "reverse_sigmoid": Defense(
        f"{_HERE}.reverse_sigmoid:release",
        (Parameter("beta", low=0, high=2, grid=(0.1, 0.4, 0.8), identity=0),),
        settings={"gamma": 0.2},
    ),
    "adaptive_misinformation": Defense(
        f"{_HERE}.adaptive_misinformation:release",
        (Parameter("tau", low=0, high=1, grid=(0.5, 0.9, 0.99), identity=0),),
        settings={"nu": 1000},
        forms=("exposure",),
        guided="misinformer",
    ),
    "mad": Defense(
        f"{_HERE}.mad:release", _epsilon(0.25, 0.5, 1), forms=("layers", "surrogate"), guided="surrogate"
    ),
    "grad2": Defense(f"{_HERE}.grad2:release", _epsilon(0.25, 0.5, 1), guided="surrogate"),
    "modelguard_w": Defense(f"{_HERE}.modelguard_w:release", _epsilon(0.25, 0.5, 1), forms=("floor",)),
    "uniform": Defense(f"{_HERE}.uniform:matrix", _share(0.25, 0.5, 0.75), linear=True),
    "permutation": Defense(f"{_HERE}.permutation:matrix", _share(0.15, 0.3, 0.45), linear=True),
    "random_matrix": Defense(f"{_HERE}.random_matrix:matrix", _share(0.25, 0.5, 0.75), linear=True),
}
"""By name: the learned defenses, whose parameters are searched, and the baselines."""

LEARNED = {name: defense for name, defense in DEFENSES.items() if defense.learned}
BASELINES = {name: defense for name, defense in DEFENSES.items() if not defense.learned}

CONTROLS = tuple(name for name, defense in BASELINES.items() if defense.linear)
"""Matrices that are drawn, not learned: what a learned one must beat for learning to be the cause."""


def control_matrix(kind: str, params: Mapping[str, float | str], classes: int, *, seed: int) -> Tensor:
    """Draw the matrix T of a linear defense.

    Args:
        kind: one of `BASELINES` that is linear.
        params: of a point, its budget among them.
        classes: K.
        seed: of what is drawn.

    Returns:
        (K, K) row-stochastic.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return BASELINES[kind].function(classes, generator=generator, **own_params(params))
