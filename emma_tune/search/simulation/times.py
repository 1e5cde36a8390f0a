"""How long things take: a task as an earlier study measured it, or as given; a proposal as it was measured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optuna.storages import InMemoryStorage

from emma_tune.plan import Params, Point, Task
from emma_tune.results import StudyView
from emma_tune.search.proposals import Proposer
from emma_tune.stages import STAGES, Answers
from emma_tune.study import Study
from emma_tune.study.file import StudyError

CHEAP = 1.0
"""Seconds of a stage that has no trial of its own, where nothing is known of it."""

REAL_ASKS = {"gp": 40, "tpe": 1_000, "nsga2": 2_000}
"""How many points of a defense the study's own sampler proposes, which takes 10 to 20 s; the others are drawn
uniformly. Samplers that are not named here propose every point."""


@dataclass(frozen=True)
class Times:
    """Seconds of tasks.

    Attributes:
        paces: measured, by stage: seconds an epoch, or a task where a stage has no epochs.
        whole: given, by stage: seconds of a training of all its epochs; of a leg of a surrogate, and of a matrix
            that begins later, their share of it. What is given counts before what was measured.
        answers: to the pool, of the study that was measured.
    """

    paces: Mapping[str, float] = field(default_factory=dict)
    whole: Mapping[str, float] = field(default_factory=dict)
    answers: Answers | None = None

    def of(self, task: Task, before: Task | None) -> float:
        """Return the seconds of a task; `before` is the previous leg of a surrogate.

        Raises:
            StudyError: if nothing is known of its stage.
        """
        epochs, of_all = task.config.epochs(before.config if before else None, self.answers)
        if task.stage in self.whole:
            return self.whole[task.stage] * (epochs / of_all if of_all else 1.0)
        if task.stage in self.paces:
            return self.paces[task.stage] * (epochs if of_all else 1.0)
        if not STAGES[task.stage].own_trial:
            return CHEAP
        raise StudyError(
            f"{task.stage}: no duration known; give --seconds {task.stage}=SECONDS, or --times DIR of a study "
            "that has finished one"
        )


def measured(view: StudyView) -> dict[str, float]:
    """Compute the mean pace of a study's finished tasks by stage: seconds per planned epoch, or per task without.

    Raises:
        StudyError: if nothing is finished.
    """
    tasks: dict[str, Task] = {}
    for point in view.ledger.points.values():
        tasks |= view.planner.whole(point).tasks
    seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    amount: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    for task in tasks.values():
        record = view.record(task)
        if record:
            epochs, of_all = task.config.epochs(
                tasks[task.continues].config if task.continues else None, view.answers
            )
            seconds[task.stage] += record.provenance.get("seconds", 0.0)
            amount[task.stage] += epochs if of_all else 1
    paces = {stage: seconds[stage] / amount[stage] for stage in STAGES if amount[stage]}
    if not paces:
        raise StudyError(f"{view.folder.root}: expected a study with finished tasks, found none")
    return paces


def ask_seconds(sampler: str, known: int) -> float:
    """Estimate the seconds that a proposal takes of a sampler that knows some number of points.

    Fitted to what was measured on one core (tests/benchmarks/RESULTS.md), `gp` at 50 to 800 points, `nsga2` up to
    1,000, `tpe` up to 2,000; beyond that it is an extrapolation.
    """
    match sampler:
        case "gp":
            return 0.15 + 1.2e-3 * known
        case "tpe":
            return 13e-6 * known
        case "nsga2":
            return 5e-6 * known
    return 5e-4


class TimedProposer(Proposer):
    """Proposes as a study's proposer does, without a journal, and estimates how long a driver would wait.

    Args:
        study: the study.
        defense: that is searched.
        real_asks: how many points the study's own sampler proposes, by sampler.
    """

    def __init__(self, study: Study, defense: str, real_asks: Mapping[str, int] = REAL_ASKS) -> None:
        super().__init__(study, defense, InMemoryStorage())
        drawn = study.model_copy(update={"search": study.search.model_copy(update={"sampler": "random"})})
        self._drawn = Proposer(drawn, defense, InMemoryStorage())
        self._limit_real = real_asks.get(study.search.sampler)
        self._owed = 0.0
        self.real = 0  # points that the study's own sampler has proposed
        self.slowest = 0.0  # seconds that the slowest of those asks really took here

    def propose(self, number: int, index: int, before: Iterable[Point]) -> tuple[Params, dict[str, object]]:
        """Propose as `Proposer` does."""
        self._owed += ask_seconds(self._search.sampler, index)
        if self._limit_real is not None and index >= self._limit_real:
            return self._drawn.propose(number, index, before)
        self.real += 1
        began = time.perf_counter()
        proposed = super().propose(number, index, before)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        return proposed

    def conclude(
        self, point: Point, figures: Mapping[str, object], memory: Mapping[str, object], *, stopped: bool = False
    ) -> None:
        """Report as `Proposer` does, as long as the study's own sampler will propose more."""
        if self._limit_real is None or self.real < self._limit_real:
            super().conclude(point, figures, memory, stopped=stopped)

    def take_owed(self) -> float:
        """Return the seconds of proposals since the last call."""
        owed, self._owed = self._owed, 0.0
        return owed
