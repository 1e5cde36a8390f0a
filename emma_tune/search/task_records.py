"""What the store knows of tasks: whether they are done, and of each finished one what outcomes need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from emma_tune.plan import PointPlan, Task
from emma_tune.results.ledger import FinishedTask, Ledger
from emma_tune.search.paces import Paces
from emma_tune.search.workload import Workload
from emma_tune.stages import STAGES, Answers, PosteriorsSettings
from emma_tune.storage.artifact import Metrics
from emma_tune.storage.store import CorruptArtifactError, Record, Store

RECALLED_POINTS = 4
"""Points of earlier runs whose records are read for the memory that tasks took: each has a task of every kind."""


class TaskSummary(NamedTuple):
    """What outcomes need of a finished task."""

    done: FinishedTask  # what the ledger keeps of it
    metrics: Metrics
    curve: tuple[float, ...]  # of a clone, the best validation accuracy up to each epoch; else empty


class TaskRecords:
    """Reads the records of finished tasks, each once; `paces` learn from those that are done already."""

    def __init__(
        self, store: Store, ledger: Ledger, workload: Workload, paces: Paces, say: Callable[[str], None]
    ) -> None:
        self.store = store
        self._ledger = ledger
        self._workload = workload
        self._paces = paces
        self._say = say
        self._done: set[str] = set()
        self._summaries: dict[str, TaskSummary] = {}

    def is_done(self, task: Task) -> bool:
        """Check whether a task's artifact is in the store; a damaged one is moved aside, to be computed again."""
        try:
            done = self.store.check(task.stage, task.key)
            effort = self._workload.efforts[task.key]
            if done and self._paces.wants(effort.kind) and (record := self.store.record(task.stage, task.key)):
                self._paces.recall(effort, record)
        except CorruptArtifactError as error:
            aside = self.store.set_aside(task.stage, task.key)
            self._say(f"corrupt artifact, recomputing it: {error} (moved to {aside})")
            done = self.store.has(task.stage, task.key)
        if done:
            self._done.add(task.key)
        return done

    def newly_done(self, tasks: Iterable[Task]) -> list[Task]:
        """List those of a trial's tasks whose artifacts the store has."""
        done = [task for task in tasks if self.store.has(task.stage, task.key)]
        self._done.update(task.key for task in done)
        return done

    def summary(self, task: Task) -> TaskSummary | None:
        """Summarize the record of a task, which is read once; None while it is not finished."""
        if task.key not in self._summaries:
            record = self.store.record(task.stage, task.key) if task.key in self._done else None
            if record is None:
                return None
            made = record.provenance
            done = FinishedTask(task.stage, made["run"], made["seconds"], len(record.history))
            best = [row.get("best.validation.accuracy") for row in record.history]
            curve = tuple(value for value in best if value is not None)
            self._summaries[task.key] = TaskSummary(done, record.metrics, curve)
        return self._summaries[task.key]

    def records(self, tasks: Iterable[Task]) -> Iterator[Record]:
        """Read the records of finished tasks."""
        for task in tasks:
            if record := self.store.record(task.stage, task.key):
                yield record

    def earlier_records(self, stages: Collection[str]) -> Iterator[Record]:
        """Read what tasks of some stages left at the latest points that earlier runs have ended."""
        for outcome in list(self._ledger.outcomes.values())[-RECALLED_POINTS:]:
            for key, done in outcome.tasks.items():
                if done.stage in stages:
                    with suppress(CorruptArtifactError):
                        if record := self.store.record(done.stage, key):
                            yield record

    def metrics(self, task: Task) -> Metrics | None:
        """Return the metrics of a task; None while it is not finished."""
        summary = self.summary(task)
        return summary.metrics if summary else None

    def answers_of(self, plan: PointPlan) -> Answers | None:
        """Return the shape of the clean answers to the pool; None while no victim of this point has answered."""
        for task in plan.tasks.values():
            if (
                isinstance(task.config, PosteriorsSettings)
                and task.config.views is None
                and task.key in self._done
            ):
                with suppress(OSError, CorruptArtifactError, LookupError):
                    return Answers(*self.store.shapes(task.stage, task.key)["queries"])
        return None

    def done_of(self, plan: PointPlan) -> dict[str, FinishedTask]:
        """Return what the ledger keeps of the finished tasks of a point, by key."""
        return {key: summary.done for key, task in plan.tasks.items() if (summary := self.summary(task))}

    def forget(self, plan: PointPlan) -> None:
        """Drop the records of a closed point; those of tasks that points share are kept."""
        for key, task in plan.tasks.items():
            if not STAGES[task.stage].shared:
                self._summaries.pop(key, None)
