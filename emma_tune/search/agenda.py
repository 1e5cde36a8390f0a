"""What is to be done: the tasks of all open points, and which of them can run now. Pure: no Ray, no files.

Nothing here walks all points or all tasks: what an event changes is looked at, and no more, so that an event costs
no more with thousands of open points than with ten.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from emma_tune.plan import Point, PointPlan, Task
from emma_tune.search.remaining import Workload
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


class _Rank(NamedTuple):
    """The order in which ready tasks are handed out: the smallest first."""

    first_point: int
    height: int
    opened: int
    position: int
    key: str


class Agenda:
    """Keeps count of tasks until every point is settled.

    A task waits until all it needs is done, then is ready, running, and done or failed. Tasks that points share
    are one task. Earlier points go first, and within a point later stages: points are finished rather than begun.

    Args:
        is_done: whether a task's artifact is in the store; asked once for each task.

    Attributes:
        workload: what is left of the tasks of open points.
    """

    def __init__(self, is_done: Callable[[Task], bool]) -> None:
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
        # by task: the open points that want it, with its position among their tasks; who needs it; what it lacks
        self._users: dict[str, dict[int, int]] = {}
        self._dependents: dict[str, list[str]] = {}
        self._lacks: dict[str, int] = {}
        self._ready: list[_Rank] = []
        self._lined_up: dict[str, _Rank] = {}
        self._ripe: set[int] = set()
        self._changed: set[int] = set()
        self._states: dict[str, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self.workload = Workload()

    def add(self, plan: PointPlan) -> None:
        """Takes up the tasks of a point that is not open."""
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

    def next(self) -> list[Task] | None:
        """Hands out what can run now: a task, then every cheap task that it alone makes ready.

        Returns:
            The tasks of one trial, in order, now running; None if nothing is ready.
        """
        while self._ready:
            rank = heapq.heappop(self._ready)
            if self._lined_up.get(rank.key) == rank:
                del self._lined_up[rank.key]
            if self._is_ready(rank.key) and rank == self._rank(rank.key):  # else it has changed since
                break
        else:
            return None
        trial = [self._tasks[rank.key]]
        self._run(rank.key)
        while follower := self._follower({task.key for task in trial}):
            trial.append(follower)
            self._run(follower.key)
        return trial

    def done(self, keys: Iterable[str]) -> None:
        """These tasks are in the store."""
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
        """A task of a trial failed; what the trial had not done by then waits again."""
        self._failed[key] = reason
        self._ripe.update(self._users.get(key, ()))
        self._update(key)
        self.release(trial)

    def drop(self, point: Point) -> None:
        """A point needs nothing more; what runs for it alone is no longer wanted."""
        self._dropped.update(self._close(self._opened[point.number]).tasks)

    def release(self, trial: Iterable[Task]) -> None:
        """A trial was stopped; what it had not done by then waits, if anybody wants it."""
        for task in trial:
            self._running.discard(task.key)
            self._update(task.key)

    def wants(self, trial: Iterable[Task]) -> bool:
        """Whether somebody needs what a trial has not done yet: an open point, or a failed one, once retried."""
        left = {task.key for task in trial} - self._done
        return not left <= self._dropped or any(self._users.get(key) for key in left)

    def settle(self) -> list[Settled]:
        """Takes leave of the points that are finished or cannot be."""
        settled = []
        for place in sorted(self._ripe):
            plan = self._close(place)
            broken = next((key for key in plan.tasks if key in self._failed), None)
            if broken:
                settled.append(Settled(plan, plan.tasks[broken], self._failed[broken]))
            else:
                settled.append(Settled(plan))
        return settled

    def changed(self) -> list[PointPlan]:
        """The open points that were opened, or of which a task was done, since this was last asked."""
        changed, self._changed = sorted(self._changed), set()
        return [self._open[place] for place in changed]

    def touch(self, key: str) -> None:
        """Something is known anew of a task: the open points that want it count as changed."""
        self._changed.update(self._users.get(key, ()))

    def is_done(self, task: Task) -> bool:
        """Whether a task of some point is done."""
        return task.key in self._done

    def has_failed(self, task: Task) -> bool:
        """Whether a task of some point has failed."""
        return task.key in self._failed

    def is_open(self, point: Point) -> bool:
        """Whether a point is not settled."""
        return point.number in self._opened

    @property
    def open(self) -> tuple[PointPlan, ...]:
        """The points that are not settled."""
        return tuple(self._open.values())

    @property
    def open_points(self) -> int:
        """How many points are not settled."""
        return len(self._open)

    def counts(self) -> dict[str, dict[str, int]]:
        """By stage, how many tasks are done, running, failed and waiting."""
        states = ("done", "running", "failed", "waiting")
        return {stage: {state: self._counts[stage, state] for state in states} for stage in STAGES}

    # --- one task -----------------------------------------------------------------------------------------

    def _enter(self, task: Task) -> None:
        key, needs = task.key, task.needs
        self._tasks[key] = task
        self.workload.enter(task, self._tasks.get(task.continues) if task.continues else None)
        self._users[key] = {}
        if self._is_done(task) and key not in self._done:
            self._done.add(key)
        self._lacks[key] = len(needs - self._done)
        for need in needs:
            self._dependents.setdefault(need, []).append(key)

    def _run(self, key: str) -> None:
        self._running.add(key)
        self._update(key)

    def _close(self, place: int) -> PointPlan:
        """An open point is open no longer."""
        plan = self._open.pop(place)
        del self._opened[plan.point.number], self._left[place]
        self._ripe.discard(place)
        self._changed.discard(place)
        for key in plan.tasks:
            del self._users[key][place]
            self._update(key)
        return plan

    def _update(self, key: str) -> None:
        """After anything that concerns a task: counts it, and lines it up if it is ready."""
        task = self._tasks.get(key)
        if task is None:
            return
        before, now = self._states.get(key, ""), self._state(key)
        if before != now:
            self._counts[task.stage, before] -= 1
            self._counts[task.stage, now] += 1
            self._states[key] = now
            self.workload.move(key, before, now)
        if self._is_ready(key) and self._lined_up.get(key) != (rank := self._rank(key)):
            self._lined_up[key] = rank
            heapq.heappush(self._ready, rank)

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
        place, position = next(iter(self._users[key].items()))  # places only grow: the first one is the earliest
        return _Rank(self._first_point[key], -DEPTH[self._tasks[key].stage], place, position, key)

    def _follower(self, trial: set[str]) -> Task | None:
        """A cheap task that the tasks of a trial, and they alone, make ready."""
        found = [
            key
            for before in trial
            for key in self._dependents.get(before, ())
            if not STAGES[self._tasks[key].stage].own_trial
            and self._state(key) == "waiting"
            and all(need in trial or need in self._done for need in self._tasks[key].needs)
        ]
        if not found:
            return None
        return self._tasks[min(found, key=lambda key: next(iter(self._users[key].items())))]
