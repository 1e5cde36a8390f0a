"""The work left of open points: epochs by kind of task. Pure: no Ray, no files.

Running sums: an event costs no more with thousands of open points than with ten.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from emma_tune.plan import Task
from emma_tune.training.settings import Training

OPEN = ("waiting", "running")
"""States of a task that is still to be done."""


class TaskKind(NamedTuple):
    """What tasks have in common whose epochs take equally long."""

    stage: str
    training: Training | None  # of stages that train a network
    details: tuple[object, ...]  # other settings that make a difference


class Effort(NamedTuple):
    """The planned work of a task."""

    kind: TaskKind
    amount: float  # epochs it adds; 1 for a stage without epochs


def effort_of(task: Task, before: Task | None) -> Effort:
    """Compute the planned work of a task; `before` is the previous leg of a surrogate."""
    config = task.config
    names = ("kind", "queries", "model", "defense", "rounds", "choose")
    views = getattr(config, "views", None)
    details = (*(getattr(config, name, None) for name in names), views and views.count)
    epochs, of_all = config.epochs(before.config if before else None)
    return Effort(TaskKind(task.stage, getattr(config, "training", None), details), epochs if of_all else 1.0)


class Workload:
    """The work left in the tasks of open points, by kind."""

    def __init__(self) -> None:
        # of each task, by key: its effort; the epochs left if it is open, and if it runs
        self.efforts: dict[str, Effort] = {}
        self._left: dict[str, float] = {}
        self.running: dict[str, float] = {}
        # of each kind: the epochs left in open tasks, their number, how many of them wait, epochs of the largest
        self.left: dict[TaskKind, float] = defaultdict(float)
        self.open: Counter[TaskKind] = Counter()
        self.waiting: Counter[TaskKind] = Counter()
        self.size: dict[TaskKind, float] = defaultdict(float)
        # of each stage: the epochs done, also by earlier runs, and those spared, because no open point needs them
        # any more
        self.trained: dict[str, float] = defaultdict(float)
        self.spared: dict[str, float] = defaultdict(float)

    def enter(self, task: Task, before: Task | None) -> None:
        """Register a task; `before` as `effort_of` takes it."""
        self.efforts[task.key] = effort_of(task, before)
        self.enlarge(self.efforts[task.key])

    def enlarge(self, effort: Effort) -> None:
        """Note that there are tasks of this effort."""
        self.size[effort.kind] = max(self.size[effort.kind], effort.amount)

    def move(self, key: str, before: str, now: str) -> None:
        """Move a task between states: waiting, running, done, failed, or "" while no open point needs it."""
        kind, amount = self.efforts[key]
        if before in OPEN:
            self.open[kind] -= 1
            self.waiting[kind] -= before == "waiting"
            self.left[kind] -= self._left[key]
            self.running.pop(key, None)
        if now in OPEN:
            left = self._left.setdefault(key, amount)
            self.open[kind] += 1
            self.waiting[kind] += now == "waiting"
            self.left[kind] += left
            if now == "running":
                self.running[key] = left
        elif before in OPEN or now == "done":
            left = self._left.pop(key, 0.0)
            left = 0.0 if now == "done" else left
            self.trained[kind.stage] += amount - left
            self.spared[kind.stage] += left

    def update(self, key: str, left: float) -> None:
        """Set the epochs left of a running task."""
        if key in self.running:
            self.left[self.efforts[key].kind] += left - self._left[key]
            self._left[key] = self.running[key] = left

    def recall_stopped(self, clones: Iterable[Task], left_out: float) -> None:
        """Take in the clones of a point that an earlier run stopped; so many of their epochs were not trained."""
        for task in clones:
            self.trained[task.stage] += effort_of(task, None).amount
        self.trained["attacker"] -= left_out
        self.spared["attacker"] += left_out

    def trained_share(self, stage: str) -> float:
        """Estimate the share of a stage's planned epochs that are trained before a point is stopped, in (0, 1].

        One more task, trained to its end, is added to those so far: the first points to end are those that stop.
        """
        one = max((size for kind, size in self.size.items() if kind.stage == stage), default=1.0)
        trained = self.trained[stage] + one
        return trained / (trained + self.spared[stage])
