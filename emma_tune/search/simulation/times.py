"""How long a task takes: as an earlier study measured it, or as given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emma_tune.plan import Task
from emma_tune.results import StudyView
from emma_tune.stages import STAGES
from emma_tune.study.file import StudyError

CHEAP = 1.0
"""Seconds of a stage that has no trial of its own, where nothing is known of it."""


@dataclass(frozen=True)
class Times:
    """Seconds of tasks.

    Attributes:
        paces: measured, by stage: seconds an epoch, or a task where a stage has no epochs.
        whole: given, by stage: seconds of a training of all its epochs; of a leg of a surrogate, and of a matrix
            that begins later, their share of it. What is given counts before what was measured.
    """

    paces: Mapping[str, float] = field(default_factory=dict)
    whole: Mapping[str, float] = field(default_factory=dict)

    def of(self, task: Task, before: Task | None) -> float:
        """Return the seconds of a task; `before` is the previous leg of a surrogate.

        Raises:
            StudyError: if nothing is known of its stage.
        """
        epochs, of_all = task.config.epochs(before.config if before else None)
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
            epochs, of_all = task.config.epochs(tasks[task.continues].config if task.continues else None)
            seconds[task.stage] += record.provenance.get("seconds", 0.0)
            amount[task.stage] += epochs if of_all else 1
    paces = {stage: seconds[stage] / amount[stage] for stage in STAGES if amount[stage]}
    if not paces:
        raise StudyError(f"{view.folder.root}: expected a study with finished tasks, found none")
    return paces
