"""What to try next: Optuna proposes points and learns from their figures."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState, create_trial

from emma_tune.defenses import DEFENSES
from emma_tune.plan import Params, Point
from emma_tune.search.spaces import as_distribution, contains, filling_point, usual_point
from emma_tune.storage import IMPATIENT, Patience, storage_at
from emma_tune.study import Study
from emma_tune.study.measures import measure, value_of
from emma_tune.training.seeds import derive_seed

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


REPEATED = 1e-3
"""Relative difference below which two values of a parameter are the same point proposed twice."""


class Proposer:
    """Proposes points of one searched defense.

    A sampler that fits a model begins with the usual values of the defense's parameters, then fills the space
    until enough points are known. A proposal depends on the points before it and the study's seed alone, not on
    when a run began; `nsga2` is the exception, since Optuna reorders the parents of a generation.
    """

    def __init__(self, study: Study, defense: str, storage: BaseStorage) -> None:
        self._search = study.search
        self._objectives = study.objectives
        self._limits = study.limits
        search = study.searches[defense]
        self._settings = search.settings
        self._dimensions = {name: dimension.grid() for name, dimension in search.space.items()}
        self._fixed = {name: values[0] for name, values in self._dimensions.items() if len(values) == 1}
        self._distributions = {
            name: as_distribution(dimension) for name, dimension in search.space.items() if name not in self._fixed
        }
        row = DEFENSES[study.versioned(defense)]
        self._usual = {parameter.name: parameter.usual for parameter in row.parameters}
        self._startup = _startup(self._search.sampler, len(self._distributions))
        self._known = 0  # points whose figures the sampler has
        self._optuna = optuna.create_study(
            storage=storage,
            study_name=study.name if defense == study.defense.kind else f"{study.name}: {defense}",
            directions=["minimize" if d == "min" else "maximize" for d in study.objectives.values()],
        )
        self._optuna.set_metric_names(list(study.objectives))
        self._open: dict[int, optuna.Trial] = {}

    def prepare(self) -> None:
        """Import what proposals need, which takes up to two seconds: while there is nothing else to do."""
        if self._search.sampler == "gp":
            import emma_tune.search.gain_sampler  # noqa: F401
        elif self._search.sampler in ("tpe", "qmc"):
            import scipy.stats.qmc  # noqa: F401

    def adopt(self, point: Point) -> None:
        """Take up an open point of the ledger."""
        params = self._searched(point)
        if params is not None:
            self._optuna.enqueue_trial(params)
            self._open[point.number] = self._ask(point.number)

    def propose(self, number: int, index: int, before: Iterable[Point]) -> tuple[Params, dict[str, Any]]:
        """Propose the next point: its parameters, and what the sampler needs to remember of it.

        Args:
            number: the point's number in the ledger.
            index: how many points were searched before it.
            before: these points; a grid leaves them out, whatever it was when they were proposed.
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
        if repeated and (self._search.sampler == "gp" or self._known < self._startup):
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
        """Report a finished or stopped point, of this run or an earlier one; ignore it if it is not of this space.

        Args:
            point: of the ledger.
            figures: its validation figures; of a stopped point those that it would probably have come to. Not the
                bounds: taken for values, they make a front of stopped points look flat.
            memory: what the sampler remembers of it, from the ledger.
            stopped: whether the figures are such an estimate; noted in the journal.
        """
        trial = self._open.pop(point.number, None)
        params = self._searched(point)
        self._known += trial is not None or params is not None
        if trial is not None:
            trial.set_user_attr("stopped", stopped)
            for name, value in self._limits.excess(figures).items():
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
                    constraints=self._limits.excess(figures),
                )
            )

    def fail(self, point: Point) -> None:
        """Report that a proposed point has failed."""
        trial = self._open.pop(point.number, None)
        if trial is not None:
            self._optuna.tell(trial, state=TrialState.FAIL)

    def _ask(self, number: int) -> optuna.Trial:
        trial = self._optuna.ask(self._distributions)
        trial.set_user_attr("point", number)
        return trial

    def _values(self, figures: Mapping[str, Any]) -> list[float]:
        return [value_of(figures, name) for name in self._objectives]

    def _searched(self, point: Point) -> dict[str, Any] | None:
        """Pick the searched parameters of a point; None if it is not of this space."""
        others = {name: value for name, value in point.params.items() if name not in self._distributions}
        if others != {**self._fixed, **self._settings}:
            return None
        params = {name: point.params.get(name) for name in self._distributions}
        inside = (contains(distribution, params[name]) for name, distribution in self._distributions.items())
        return params if all(inside) else None

    def _enumerated(self, index: int, before: Iterable[Point]) -> dict[str, Any] | None:
        """Return the next point of a fixed sequence; None for a sampler that decides as it goes."""
        if self._search.sampler == "grid":
            searched = {name: values for name, values in self._dimensions.items() if name in self._distributions}
            found = (self._searched(point) for point in before)
            tried = {tuple(params[name] for name in searched) for params in found if params is not None}
            values = next(values for values in itertools.product(*searched.values()) if values not in tried)
            return dict(zip(searched, values, strict=True))
        if not self._distributions:
            return None
        seed = derive_seed(self._search.seed, "sobol") % 2**32
        if self._search.sampler == "qmc":
            return filling_point(self._distributions, index, seed)
        if self._known >= self._startup:
            return None
        if index == 0:
            return usual_point(self._distributions, self._usual)
        return filling_point(self._distributions, index - 1, seed)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        match self._search.sampler:
            case "gp":
                if self._known < self._startup:
                    return optuna.samplers.RandomSampler(seed=seed)
                from emma_tune.search.gain_sampler import GainSampler  # scikit-learn takes a second to import

                return GainSampler([(of.best, of.worst) for of in map(measure, self._objectives)], seed)
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, constant_liar=True, n_startup_trials=self._startup
                )
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, self._search.points // 4))
            case _:
                return optuna.samplers.RandomSampler(seed=seed)


def _startup(sampler: str, dimensions: int) -> int:
    """Return how many points of a space are measured before a sampler fits its first model; 0 if it fits none."""
    if sampler == "gp":
        return 3 * max(1, dimensions) + 1
    return 10 if sampler == "tpe" else 0


class _Journal(BaseJournalBackend):
    """Optuna's journal, written in whole lines and with retries.

    Optuna's own file backend reads its file again at every call, and a full disk leaves half a line in it. This
    one remembers what it wrote: it is the only writer.
    """

    def __init__(self, path: Path, patience: Patience) -> None:
        storage = storage_at(path.parent, patience)
        storage.remove(path.name)
        self._log = storage.log(path.name)
        self._entries: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(entry, separators=(",", ":")) + "\n" for entry in logs]
        self._log.append("".join(lines).encode())
        self._entries += [json.loads(line) for line in lines]


def new_proposers(study: Study, journal: Path, patience: Patience = IMPATIENT) -> dict[str, Proposer]:
    """Make one for each searched defense, with an empty journal: the ledger is what counts, and fills it again.

    The journal's file, which optuna-dashboard reads live, replaces an old one.
    """
    storage = JournalStorage(_Journal(journal, patience))
    return {defense: Proposer(study, defense, storage) for defense in study.searches}


def _alike(params: Mapping[str, Any], others: Mapping[str, Any] | None) -> bool:
    """Tell whether two points of one space are practically the same; never where nothing is searched."""
    return bool(params and others) and all(
        math.isclose(value, (others or {})[name], rel_tol=REPEATED) for name, value in params.items()
    )
