"""What is to be done: the tasks of all open points, and which of them can run now. Pure: no Ray, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.stages import STAGES

DEPTH = {stage: depth for depth, stage in enumerate(STAGES)}


@dataclass(frozen=True)
class Settled:
    """A point whose tasks are all done, or that cannot be finished.

    Attributes:
        plan: its tasks.
        failed: the task that failed; None if the point is finished.
        reason: why.
    """

    plan: PointPlan
    failed: Task | None = None
    reason: str | None = None


class Agenda:
    """Keeps count of tasks until every point is settled.

    A task waits until all it needs is done, then is ready, running, and done or failed. Tasks that points share
    are one task. Earlier points go first, and within a point later stages: points are finished rather than begun.

    Args:
        is_done: whether a task's artifact is in the store; asked once for each task.
    """

    def __init__(self, is_done: Callable[[Task], bool]) -> None:
        self._is_done = is_done
        self._tasks: dict[str, Task] = {}
        self._first_point: dict[str, int] = {}
        self._done: set[str] = set()
        self._running: set[str] = set()
        self._failed: dict[str, str] = {}
        self._open: dict[int, PointPlan] = {}
        self._dropped: set[str] = set()

    def add(self, plan: PointPlan) -> None:
        """Takes up the tasks of a point."""
        self._open[plan.point.number] = plan
        for key, task in plan.tasks.items():
            if key not in self._tasks:
                self._tasks[key] = task
                self._first_point[key] = plan.point.number
                if self._is_done(task):
                    self._done.add(key)
            else:
                self._first_point[key] = min(self._first_point[key], plan.point.number)

    def next(self) -> list[Task] | None:
        """Hands out what can run now: a task, then every cheap task that it alone makes ready.

        Returns:
            The tasks of one trial, in order, now running; None if nothing is ready.
        """
        ready = [task for task in self._wanted() if self._is_ready(task, self._done)]
        if not ready:
            return None
        first = min(ready, key=lambda task: (self._first_point[task.key], -DEPTH[task.stage]))
        trial = [first]
        self._running.add(first.key)
        while follower := self._follower({task.key for task in trial}):
            trial.append(follower)
            self._running.add(follower.key)
        return trial

    def done(self, keys: Iterable[str]) -> None:
        """These tasks are in the store."""
        for key in keys:
            self._running.discard(key)
            self._done.add(key)

    def failed(self, trial: Iterable[Task], key: str, reason: str) -> None:
        """A task of a trial failed; what the trial had not done by then waits again."""
        self._running -= {task.key for task in trial}
        self._failed[key] = reason

    def drop(self, point: Point) -> None:
        """A point needs nothing more; what runs for it alone is no longer wanted."""
        self._dropped |= self._open.pop(point.number).tasks.keys()

    def release(self, trial: Iterable[Task]) -> None:
        """A trial was stopped; what it had not done by then waits, if anybody wants it."""
        self._running -= {task.key for task in trial}

    def wants(self, trial: Iterable[Task]) -> bool:
        """Whether somebody needs what a trial has not done yet: an open point, or a failed one, once retried."""
        left = {task.key for task in trial} - self._done
        return not left <= self._dropped or any(not left.isdisjoint(plan.tasks) for plan in self._open.values())

    def settle(self) -> list[Settled]:
        """Takes leave of the points that are finished or cannot be."""
        settled = []
        for number, plan in list(self._open.items()):
            broken = next((key for key in plan.tasks if key in self._failed), None)
            if broken:
                settled.append(Settled(plan, plan.tasks[broken], self._failed[broken]))
            elif all(key in self._done for key in plan.tasks):
                settled.append(Settled(plan))
            else:
                continue
            del self._open[number]
        return settled

    def is_done(self, task: Task) -> bool:
        """Whether a task of some point is done."""
        return task.key in self._done

    def has_failed(self, task: Task) -> bool:
        """Whether a task of some point has failed."""
        return task.key in self._failed

    def is_open(self, point: Point) -> bool:
        """Whether a point is not settled."""
        return point.number in self._open

    @property
    def open(self) -> tuple[PointPlan, ...]:
        """The points that are not settled."""
        return tuple(self._open.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """By stage, how many tasks are done, running, failed and waiting."""
        table = {stage: {"done": 0, "running": 0, "failed": 0, "waiting": 0} for stage in STAGES}
        wanted = {task.key for task in self._wanted()}
        for key, task in self._tasks.items():
            row = table[task.stage]
            if key in self._done:
                row["done"] += 1
            elif key in self._failed:
                row["failed"] += 1
            elif key in self._running:
                row["running"] += 1
            elif key in wanted:
                row["waiting"] += 1
        return table

    def _wanted(self) -> Iterable[Task]:
        """Unfinished tasks of open points, each once."""
        seen = set()
        for plan in self._open.values():
            for key, task in plan.tasks.items():
                if key not in seen and key not in self._done and key not in self._failed:
                    seen.add(key)
                    yield task

    def _is_ready(self, task: Task, reached: set[str]) -> bool:
        return task.key not in self._running and task.needs <= reached

    def _follower(self, trial: set[str]) -> Task | None:
        """A cheap task that the tasks of a trial, and they alone, make ready."""
        for task in self._wanted():
            waited_for_trial = bool(task.needs & trial)
            if not STAGES[task.stage].own_trial and waited_for_trial and self._is_ready(task, self._done | trial):
                return task
        return None
