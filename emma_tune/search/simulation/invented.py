"""Invented figures, so that the sampler has something to learn from and points are stopped.

EMMA's λ, by its place q in [0, 1] in the searched range, buys accuracy for budget: l1 = 1.5 (1 − q), and the
clone is worse by 0.4 (1 − q) where `lr_gamma` is in the middle of its range, by half of that at its ends. Any
other defense has an l1 by the hash of its parameters, and a quarter of EMMA's best gain for it. The victim loses
0.02 l1. All attackers and both parts are alike, and every clone gains as in `GROWTH`. None of this is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from emma_tune.defenses import UNDEFENDED
from emma_tune.defenses.around import GATE, around_params
from emma_tune.plan import Task, key_of
from emma_tune.results.figures import PARTS
from emma_tune.search.simulation.times import Times
from emma_tune.stages import MatrixSettings, ResponsesSettings
from emma_tune.storage.artifact import Metrics
from emma_tune.study import Dimension, Study
from emma_tune.study.measures import MEASURES

TOP_L1, UNDEFENDED_CLONE, BEST_GAIN, OTHERS = 1.5, 0.9, 0.4, 0.25
GROWTH = (0.7, 0.85, 0.95, 1.0)
"""Accuracy of a clone after each quarter of its training, as a share of the final one."""


class Invented:
    """Tasks that are not run, with invented metrics; the ranges of a study's search space count.

    Args:
        study: the study.
        times: how long its tasks take.
    """

    def __init__(self, study: Study, times: Times) -> None:
        given = study.search.space.dimensions
        found = ((of.name, given[of.name]) for of in study.parameters if of.name in given and not of.optional)
        ranges = [(name, of) for name, of in found if isinstance(of, Dimension)]
        (self._weight, self._weights), (self._rate, self._rates) = ranges[0], ranges[-1]
        self._of_matrix: dict[str, tuple[float, float]] = {}
        self._of_responses: dict[str, tuple[float, float]] = {}

        self.seconds = times.of

    def curve(self, task: Task) -> Sequence[float]:
        """Return what a clone reports of itself."""
        if task.stage != "attacker":
            return ()
        _, clone = self._of_responses[task.inputs["responses"]]
        return [clone * share for share in GROWTH]

    def metrics(self, task: Task) -> Metrics:
        """Invent a task's metrics, after those of its inputs; none for a stage that measures no point."""
        if isinstance(task.config, MatrixSettings):
            self._of_matrix[task.key] = self._trade(task.config)
        elif isinstance(task.config, ResponsesSettings):
            l1, clone = self._of_responses[task.key] = self._released(task.config, task.inputs)
            drop = 0.02 * l1
            cost = {"l1": l1, "l1_queries": l1, "accuracy_drop": drop, "flip_rate": drop}
            cost["victim_accuracy"] = 0.95 - drop
            gate = around_params(task.config.params).get(GATE.name)
            cost |= {} if gate is None else {"acts_on": 0.2 * float(gate), "acts_on_queries": float(gate)}
            return {
                of.metric.format(part=part): cost.get(name, of.best)
                for part in PARTS
                for name, of in MEASURES.items()
                if of.metric and (name in cost or not of.gated)
            }
        elif task.stage == "evaluation":
            _, clone = self._of_responses[task.inputs["responses"]]
            return {f"{part}.clone_accuracy.best": clone for part in PARTS}
        return {}

    def _released(self, config: ResponsesSettings, inputs: Mapping[str, str]) -> tuple[float, float]:
        """Return l1 and the accuracy of the clone."""
        if "matrix" in inputs:
            return self._of_matrix[inputs["matrix"]]
        if not config.params and config.defense == UNDEFENDED:
            return 0.0, UNDEFENDED_CLONE
        name = key_of({"defense": config.defense, "params": dict(config.params)})
        bought = int(name, 16) / 16 ** len(name)
        return TOP_L1 * bought, UNDEFENDED_CLONE - OTHERS * BEST_GAIN * bought

    def _trade(self, config: MatrixSettings) -> tuple[float, float]:
        values = {**config.objective_params, "lr_gamma": config.lr_gamma}
        bought = 1 - _place(self._weights, values[self._weight])
        skill = 1 - abs(_place(self._rates, values[self._rate]) - 0.5)
        return TOP_L1 * bought, UNDEFENDED_CLONE - BEST_GAIN * bought * skill


def _place(dimension: Dimension, value: float) -> float:
    """Return where a value lies in its range, in [0, 1]."""
    low, high = dimension.bounds
    if low == high:
        return 0.5
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
