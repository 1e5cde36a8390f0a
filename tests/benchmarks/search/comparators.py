"""Other searches on the same points, as a user would set them up: plain Optuna, and Syne Tune's MO-ASHA.

Optuna runs each point to its end, with the study's limit as a constraint. MO-ASHA trains the clones of a point
side by side and looks at its objectives after each epoch; what it stops is on no front. Both pay what a study
pays: the matrix of each point, its clones' epochs, and surrogates once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler

from tests.benchmarks.search.replay import Found, Step
from tests.benchmarks.search.tables import Recorded

optuna.logging.set_verbosity(optuna.logging.ERROR)

Search = Callable[[Recorded, int, float], Found]
"""A search of EMMA's space: recorded points, seed, share of the grid's compute; what it came to by then."""


class Bill:
    """What a search has spent and found, point by point."""

    def __init__(self, recorded: Recorded, seed: int) -> None:
        self._recorded, self._seed = recorded, seed
        self.emulator = recorded.emulators["emma"]
        self.seconds = 0.0
        self.steps: list[Step] = []
        self._trained = 0  # epochs of the surrogate so far
        self._evaluated: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._begun = 0

    def begin(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[float]]]:
        """Pay for what comes before the clones; return the point's figures and its clones' curves."""
        found, paces = self.emulator.evaluate(params, self._seed), self._recorded.paces
        more = max(0, params["st_epoch"] - self._trained)
        self._trained += more
        self.seconds += more * paces["surrogate"] + found.epochs * paces["matrix"] + paces["responses"]
        self._begun += 1
        return self._recorded.evaluated("emma", params, self._seed), found.curves

    def train(self, epochs: float) -> None:
        """Pay for some epochs of every attacker's clone."""
        self.seconds += epochs * len(self._recorded.attackers) * self._recorded.paces["attacker"]

    def finish(self, params: Mapping[str, Any], figures: dict[str, Any]) -> None:
        """Take up a point whose clones are trained."""
        self.seconds += len(self._recorded.attackers) * self._recorded.paces["evaluation"]
        self._evaluated[len(self._evaluated)] = (figures, self._recorded.value("emma", params))
        own, joint = self._recorded.volumes(self._evaluated)
        finished = len(self._evaluated)
        self.steps.append(Step(self.seconds, own, joint, finished, self._begun - finished))


def optuna_with(sampler: Callable[[int], BaseSampler]) -> Search:
    """Make a search by one of Optuna's samplers, each point to its end."""

    def search(recorded: Recorded, seed: int, share: float) -> Found:
        bill, limit = Bill(recorded, seed), recorded.study.limits.accuracy_drop
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler(seed))
        while bill.seconds < share * recorded.grid_seconds:
            trial = study.ask()
            params = {
                "lambda": trial.suggest_float("lambda", 0.003, 0.3, log=True),
                "lr_gamma": trial.suggest_float("lr_gamma", 0.03, 3.0, log=True),
                "st_epoch": trial.suggest_categorical("st_epoch", [0, 2, 5, 8]),
            }
            figures, curves = bill.begin(params)
            bill.train(len(next(iter(curves.values()))))
            bill.finish(params, figures)
            trial.set_constraint("accuracy_drop", figures["accuracy_drop"] - limit)
            study.tell(trial, [figures["l1"], figures["attacker_accuracy"]])
        return Found(bill.steps, bill.seconds)

    return search


def mo_asha(recorded: Recorded, seed: int, share: float) -> Found:
    """Search by Syne Tune's MO-ASHA, epochs of the clones as its resource, one point after the other.

    Raises:
        ImportError: if Syne Tune is not installed.
    """
    import datetime

    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import choice, loguniform
    from syne_tune.optimizer.scheduler import SchedulerDecision
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    np.random.seed(seed)  # it draws from numpy's own generator
    space = {"lambda": loguniform(0.003, 0.3), "lr_gamma": loguniform(0.03, 3.0), "st_epoch": choice([0, 2, 5, 8])}
    bill, limit = Bill(recorded, seed), recorded.study.limits.accuracy_drop
    most = recorded.study.attackers[recorded.attackers[0]].epochs
    scheduler = MOASHA(space, ["l1", "accuracy"], time_attr="epoch", max_t=most, random_seed=seed)
    for number in count():
        if bill.seconds >= share * recorded.grid_seconds:
            break
        trial = Trial(number, scheduler.suggest().config, datetime.datetime.now())
        scheduler.on_trial_add(trial)
        figures, curves = bill.begin(trial.config)
        # it knows no constraints: beyond the limit a point is told to be as bad as can be
        beyond = figures["accuracy_drop"] > limit
        told = {"l1": 2.0, "accuracy": 1.0} if beyond else {"l1": figures["l1"]}
        for epoch in range(1, most + 1):
            bill.train(1)
            result = {
                "accuracy": max(curve[epoch - 1] for curve in curves.values()),
                **told,
                "epoch": epoch,
            }
            if scheduler.on_trial_result(trial, result) != SchedulerDecision.CONTINUE:
                break
        if epoch == most:
            bill.finish(trial.config, figures)
    return Found(bill.steps, bill.seconds)


COMPARATORS: dict[str, Search] = {
    "Optuna, its default sampler": optuna_with(lambda seed: optuna.samplers.NSGAIISampler(seed=seed)),
    "Optuna, GPSampler": optuna_with(lambda seed: GPSampler(seed=seed)),
    "Syne Tune, MO-ASHA": mo_asha,
}
