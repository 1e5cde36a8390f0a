"""What to try next: Optuna, asked for a point and told how it went."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import TrialState, create_trial

from emma_tune.plan import Params, Point
from emma_tune.search.journal import Journal
from emma_tune.storage import IMPATIENT, Patience
from emma_tune.study import Dimension, EpochChoice, Study
from emma_tune.study.measures import value_of
from emma_tune.training.seeds import derive_seed

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


REPEATED = 1e-3
"""Relative difference below which two values of a parameter are the same point proposed twice."""

STEP_OFF = 1e-8
"""How far off a step Optuna takes a value to be on it, in steps."""


class Proposer:
    """Proposes points of one defence; its Optuna study lies in a journal that optuna-dashboard reads live.

    The journal is written anew from the ledger at each start: the ledger is what counts. A proposal depends on
    the points before it and the study's seed alone, not on when a run began; `nsga2` is the exception, since
    Optuna orders the parents of a generation anew.

    Args:
        study: the study.
        defense: one of those whose parameters it searches.
        storage: where Optuna keeps its side.
    """

    def __init__(self, study: Study, defense: str, storage: BaseStorage) -> None:
        self._search = study.search
        self._objectives = study.objectives
        self._limit = study.limits.accuracy_drop
        sought = study.sought[defense]
        self._settings = sought.settings
        self._dimensions: dict[str, tuple[float | int, ...]] = {
            name: dimension.grid() for name, dimension in sought.space.items()
        }
        self._fixed = {name: values[0] for name, values in self._dimensions.items() if len(values) == 1}
        self._distributions = {
            name: _distribution(dimension) for name, dimension in sought.space.items() if name not in self._fixed
        }
        self._optuna = optuna.create_study(
            storage=storage,
            study_name=study.name if defense == study.defense.kind else f"{study.name}: {defense}",
            directions=["minimize" if d == "min" else "maximize" for d in study.objectives.values()],
        )
        self._optuna.set_metric_names(list(study.objectives))
        self._open: dict[int, optuna.Trial] = {}

    def adopt(self, point: Point) -> None:
        """Takes up a point of the ledger that is not settled."""
        params = self._searched(point)
        if params is not None:
            self._optuna.enqueue_trial(params)
            self._open[point.number] = self._ask(point.number)

    def propose(self, number: int, index: int, before: Iterable[Point]) -> tuple[Params, dict[str, Any]]:
        """The next point.

        Args:
            number: the point's number in the ledger.
            index: how many points were searched before it.
            before: these points; a grid leaves them out, whatever it was when they were proposed.

        Returns:
            Its parameters, and what the sampler wants to remember of it.
        """
        before = list(before)
        enumerated = self._enumerated(index, before)
        if enumerated is not None:
            self._optuna.enqueue_trial(enumerated)
        # a sampler made for this point alone: what it draws does not depend on when the run began
        seed = derive_seed(self._search.seed, "sampler", number) % 2**32
        self._optuna.sampler = self._sampler(seed)
        trial = self._ask(number)
        repeated = any(_alike(trial.params, self._searched(point)) for point in before)
        if repeated and self._search.sampler == "gp":
            self._optuna.tell(trial, state=TrialState.FAIL)  # a model likes corners, and has been there
            self._optuna.sampler = optuna.samplers.RandomSampler(seed=seed)
            trial = self._ask(number)
        self._open[number] = trial
        params = {**self._fixed, **trial.params}
        memory = self._optuna.get_trials(deepcopy=False)[trial.number].system_attrs  # a copy of all takes long
        kept = {name: value for name, value in memory.items() if not name.startswith("fixed_params")}
        return {**{name: params[name] for name in self._dimensions}, **self._settings}, kept

    def conclude(
        self, point: Point, figures: Mapping[str, Any], memory: Mapping[str, Any], *, stopped: bool = False
    ) -> None:
        """Tell Optuna of a finished or stopped point, of this run or an earlier one.

        A point outside the space of today is left out.

        Args:
            point: of the ledger.
            figures: its validation figures; of a stopped point those that it would probably have come to. Not the
                bounds: taken for values, they make a front of stopped points look flat.
            memory: what the sampler remembers of it, from the ledger.
            stopped: whether the figures are such an estimate; noted in the journal.
        """
        trial = self._open.pop(point.number, None)
        params = self._searched(point)
        if trial is not None:
            trial.set_user_attr("stopped", stopped)
            for name, value in self._constraints(figures).items():
                trial.set_constraint(name, value)
            self._optuna.tell(trial, self._values(figures))
        elif params is not None:
            self._optuna.add_trial(
                create_trial(
                    params=params,
                    distributions=self._distributions,
                    values=self._values(figures),
                    user_attrs={"point": point.number, "stopped": stopped},
                    system_attrs=dict(memory),
                    constraints=self._constraints(figures),
                )
            )

    def fail(self, point: Point) -> None:
        """A proposed point has failed."""
        trial = self._open.pop(point.number, None)
        if trial is not None:
            self._optuna.tell(trial, state=TrialState.FAIL)

    def _ask(self, number: int) -> optuna.Trial:
        trial = self._optuna.ask(self._distributions)
        trial.set_user_attr("point", number)
        return trial

    def _values(self, figures: Mapping[str, Any]) -> list[float]:
        return [value_of(figures, name) for name in self._objectives]

    def _constraints(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """At most 0 where the limit is kept."""
        return {} if self._limit is None else {"accuracy_drop": figures["accuracy_drop"] - self._limit}

    def _searched(self, point: Point) -> dict[str, Any] | None:
        """The searched parameters of a point; None if it is not of this space."""
        others = {name: value for name, value in point.params.items() if name not in self._distributions}
        if others != {**self._fixed, **self._settings}:
            return None
        params = {name: point.params.get(name) for name in self._distributions}
        for name, distribution in self._distributions.items():
            value = params[name]
            if value is None or not _contains(distribution, value):
                return None
        return params

    def _enumerated(self, index: int, before: Iterable[Point]) -> dict[str, Any] | None:
        """The next point of a fixed sequence; None for a sampler that decides as it goes."""
        if self._search.sampler == "grid":
            searched = {name: values for name, values in self._dimensions.items() if name in self._distributions}
            found = (self._searched(point) for point in before)
            tried = {tuple(params[name] for name in searched) for params in found if params is not None}
            values = next(values for values in itertools.product(*searched.values()) if values not in tried)
            return dict(zip(searched, values, strict=True))
        if self._search.sampler == "qmc" and self._distributions:
            from scipy.stats.qmc import Sobol

            sequence = Sobol(len(self._distributions), seed=derive_seed(self._search.seed, "sobol") % 2**32)
            unit = sequence.fast_forward(index).random(1)[0] if index else sequence.random(1)[0]
            return {
                name: _at_quantile(distribution, float(u))
                for (name, distribution), u in zip(self._distributions.items(), unit, strict=True)
            }
        return None

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        match self._search.sampler:
            case "gp":
                # twice as many random points as dimensions before the first model
                startup = 2 * max(1, len(self._distributions))
                return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, self._search.points // 4))
            case _:
                return optuna.samplers.RandomSampler(seed=seed)


def new_proposers(study: Study, journal: Path, patience: Patience = IMPATIENT) -> dict[str, Proposer]:
    """One for each defence that is searched.

    Args:
        study: the study.
        journal: path of the journal file; what stands there is replaced.
        patience: how long the journal is tried again when it cannot be written for the moment.
    """
    storage = JournalStorage(Journal(journal, patience))
    return {defense: Proposer(study, defense, storage) for defense in study.sought}


def _alike(params: Mapping[str, Any], others: Mapping[str, Any] | None) -> bool:
    """Whether two points of one space are the same for all purposes; never where nothing is searched."""
    return bool(params and others) and all(
        math.isclose(value, (others or {})[name], rel_tol=REPEATED) for name, value in params.items()
    )


def _distribution(dimension: Dimension | EpochChoice) -> BaseDistribution:
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    if dimension.step is not None:
        grid = dimension.grid()
        return FloatDistribution(grid[0], grid[-1], step=dimension.step)
    low, high = dimension.bounds
    return FloatDistribution(low, high, log=dimension.log)


def _contains(distribution: BaseDistribution, value: float | int) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution)
    if not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step is not None else 0
    return abs(steps - round(steps)) < STEP_OFF


def _at_quantile(distribution: BaseDistribution, u: float) -> Any:
    """The value below which a share u of the distribution lies, u in [0, 1)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(u * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        return min(high, max(low, low * (high / low) ** u))
    if distribution.step is not None:
        steps = round((high - low) / distribution.step) + 1
        return min(high, low + int(u * steps) * distribution.step)
    return low + u * (high - low)
