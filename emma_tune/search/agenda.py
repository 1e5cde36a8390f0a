"""The tasks of all open points, and which of them can run now. Pure: no Ray, no files.

Nothing here walks all points or all tasks: only what an event changes is looked at, so that an event costs no more
with thousands of open points than with ten.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.search.workload import Workload
from emma_tune.stages import STAGES

DEPTH = {stage: depth for depth, stage in enumerate(STAGES)}


class _Rank(NamedTuple):
    """Sort key of ready tasks, the smallest first."""

    held: bool
    first_point: int
    depth: int  # negative
    place: int  # of an open point
    position: int  # in it
    key: str


class TaskFailure(NamedTuple):
    """A task that failed, and why."""

    task: Task
    reason: str


class Agenda:
    """Keeps the state of tasks until every point is closed.

    A task waits until all it needs is done, then is ready, running, and done or failed. Tasks that points share
    are one task. Earlier points go first, and within a point later stages: points are finished rather than begun.
    What is held goes last, and only where a slot would stand idle.

    Args:
        is_done: whether a task's artifact is in the store; called once for each task.
        workload: kept up to date with the tasks' states.
    """

    def __init__(self, is_done: Callable[[Task], bool], workload: Workload | None = None) -> None:
        self._is_done = is_done
        self._tasks: dict[str, Task] = {}
        self._first_point: dict[str, int] = {}
        self._done: set[str] = set()
        self._running: set[str] = set()
        self._failed: dict[str, str] = {}
        self._dropped: set[str] = set()
        # open points by their place in the order of opening; of each, how many of its tasks are not done
        self._opened: dict[int, int] = {}
        self._open: dict[int, PointPlan] = {}
        self._left: dict[int, int] = {}
        self._next_place = 0
        # by task: the open points that need it, with its position among their tasks; the tasks that need it; how
        # many of its own inputs are missing
        self._users: dict[str, dict[int, int]] = {}
        self._held: dict[int, Collection[str]] = {}  # by place, the tasks that an open point holds
        self._dependents: dict[str, list[str]] = {}
        self._lacks: dict[str, int] = {}
        self._ready: list[_Rank] = []
        self._ripe: set[int] = set()
        self._changed: set[int] = set()
        self._states: dict[str, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self.workload = workload or Workload()

    def add(self, plan: PointPlan) -> None:
        """Open a point: take up its tasks."""
        assert plan.point.number not in self._opened, "a point is opened once at a time"
        place = self._opened[plan.point.number] = self._next_place
        self._next_place += 1
        self._open[place] = plan
        self._changed.add(place)
        for key, task in plan.tasks.items():
            if key not in self._tasks:
                self._enter(task)
            self._first_point[key] = min(self._first_point.get(key, plan.point.number), plan.point.number)
        for position, key in enumerate(plan.tasks):
            self._users[key][place] = position
            self._update(key)
        self._left[place] = sum(key not in self._done for key in plan.tasks)
        if not self._left[place] or any(key in self._failed for key in plan.tasks):
            self._ripe.add(place)

    def hold(self, point: Point, keys: Collection[str]) -> None:
        """Hold these tasks of an open point, and no others: a task waits as long as each point holds it."""
        place = self._opened[point.number]
        before = self._held.pop(place, ())
        if keys:
            self._held[place] = keys
        for key in {*before} ^ {*keys}:
            self._update(key)

    def next(self, *, held: bool = False) -> list[Task] | None:
        """Hand out what can run now: a task, then every cheap task that it alone makes ready.

        Args:
            held: whether to hand out a held task if nothing else is ready.

        Returns:
            The tasks of one trial, in order, now running; None if nothing is ready.
        """
        trial: list[Task] = []
        while self._ready and not trial and (held or not self._ready[0].held):
            rank = heapq.heappop(self._ready)
            if self._is_ready(rank.key) and rank == self._rank(rank.key):  # else it has changed since
                trial.append(self._run(rank.key))
        while trial and (follower := self._follower({task.key for task in trial})):
            trial.append(self._run(follower))
        return trial or None

    def done(self, keys: Iterable[str]) -> None:
        """Mark tasks as done: they are in the store."""
        for key in keys:
            self._running.discard(key)
            if key not in self._done:
                self._done.add(key)
                for dependent in self._dependents.get(key, ()):
                    self._lacks[dependent] -= 1
                    self._update(dependent)
                for place in self._users.get(key, ()):
                    self._changed.add(place)
                    self._left[place] -= 1
                    if not self._left[place]:
                        self._ripe.add(place)
            self._update(key)

    def failed(self, trial: Iterable[Task], key: str, reason: str) -> None:
        """Mark a task of a trial as failed; what the trial had not done by then waits again."""
        self._failed[key] = reason
        self._ripe.update(self._users.get(key, ()))
        self._update(key)
        self.release(trial)

    def drop(self, point: Point) -> None:
        """Close a point that needs nothing more; what runs for it alone is no longer wanted."""
        self._dropped.update(self._close(self._opened[point.number]).tasks)

    def release(self, trial: Iterable[Task]) -> None:
        """Return a stopped trial's unfinished tasks to the queue if an open point still needs them."""
        for task in trial:
            self._running.discard(task.key)
            self._update(task.key)

    def wants(self, trial: Iterable[Task]) -> bool:
        """Tell whether a point needs what a trial has not done yet: an open one, or a failed one once retried."""
        left = {task.key for task in trial} - self._done
        return not left <= self._dropped or any(self._users.get(key) for key in left)

    def close_plans(self) -> list[tuple[PointPlan, TaskFailure | None]]:
        """Close the points that are finished or cannot be; the latter with the failure of a task."""
        closed: list[tuple[PointPlan, TaskFailure | None]] = []
        for place in sorted(self._ripe):
            plan = self._close(place)
            broken = next((key for key in plan.tasks if key in self._failed), None)
            closed.append((plan, TaskFailure(plan.tasks[broken], self._failed[broken]) if broken else None))
        return closed

    def changed(self) -> list[PointPlan]:
        """Return the open points that were opened, or of which a task was done or touched, since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [self._open[place] for place in changed]

    def touch(self, key: str) -> None:
        """Mark the open points that need a task as changed."""
        self._changed.update(self._users.get(key, ()))

    def is_done(self, task: Task) -> bool:
        """Tell whether a task of some point is done."""
        return task.key in self._done

    def has_failed(self, task: Task) -> bool:
        """Tell whether a task of some point has failed."""
        return task.key in self._failed

    def is_open(self, point: Point) -> bool:
        """Tell whether a point is open."""
        return point.number in self._opened

    @property
    def open(self) -> Collection[PointPlan]:
        """The plans of the points that are open, in the order of opening."""
        return self._open.values()

    def counts(self) -> dict[str, dict[str, int]]:
        """Count by stage how many tasks are done, running, failed and waiting."""
        states = ("done", "running", "failed", "waiting")
        return {stage: {state: self._counts[stage, state] for state in states} for stage in STAGES}

    # --- one task -----------------------------------------------------------------------------------------

    def _enter(self, task: Task) -> None:
        key, needs = task.key, task.needs
        self._tasks[key] = task
        self.workload.enter(task, self._tasks.get(task.continues) if task.continues else None)
        self._users[key] = {}
        if self._is_done(task):
            self._done.add(key)
        self._lacks[key] = len(needs - self._done)
        for need in needs:
            self._dependents.setdefault(need, []).append(key)

    def _run(self, key: str) -> Task:
        self._running.add(key)
        self._update(key)
        return self._tasks[key]

    def _close(self, place: int) -> PointPlan:
        plan = self._open.pop(place)
        del self._opened[plan.point.number], self._left[place]
        self._held.pop(place, None)
        self._ripe.discard(place)
        self._changed.discard(place)
        for key in plan.tasks:
            del self._users[key][place]
            self._update(key)
        return plan

    def _update(self, key: str) -> None:
        """Update the state of a task after any event that concerns it, and queue it if it is ready."""
        task = self._tasks.get(key)
        if task is None:
            return
        before, now = self._states.get(key, ""), self._state(key)
        if before != now:
            self._counts[task.stage, before] -= 1
            self._counts[task.stage, now] += 1
            self._states[key] = now
            self.workload.move(key, before, now)
        if self._is_ready(key):
            heapq.heappush(self._ready, self._rank(key))

    def _state(self, key: str) -> str:
        if key in self._done:
            return "done"
        if key in self._failed:
            return "failed"
        if key in self._running:
            return "running"
        return "waiting" if self._users[key] else ""

    def _is_ready(self, key: str) -> bool:
        return not self._lacks[key] and self._state(key) == "waiting"

    def _rank(self, key: str) -> _Rank:
        users = self._users[key]
        place, position = next(iter(users.items()))  # places only grow: the first one is the earliest
        held = bool(self._held) and all(key in self._held.get(user, ()) for user in users)
        return _Rank(held, self._first_point[key], -DEPTH[self._tasks[key].stage], place, position, key)

    def _follower(self, trial: set[str]) -> str | None:
        """Find a cheap task that the tasks of a trial, and they alone, make ready."""
        found = [
            key
            for before in trial
            for key in self._dependents.get(before, ())
            if not STAGES[self._tasks[key].stage].own_trial
            and self._state(key) == "waiting"
            and all(need in trial or need in self._done for need in self._tasks[key].needs)
        ]
        return min(found, key=lambda key: next(iter(self._users[key].items())), default=None)
