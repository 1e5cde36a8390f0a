"""How long a run still takes: epochs left, times seconds an epoch by kind of task. Pure: no Ray, no files.

`Workload` keeps running sums, so that an event costs no more with thousands of open points than with ten; an
estimate costs as much as there are kinds of tasks and running ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emma_tune.plan import Planner, Point, Task, placeholders
from emma_tune.stages import (
    STAGES,
)
from emma_tune.training.settings import Training

ON_THE_POOL = {"matrix": 10.0, "attacker": 3.0, "surrogate": 3.0}
"""Stages that train a network on the query pool, with the forward passes that a step of each costs: one that has
been timed stands in for one that has not."""

TRUSTED = 20.0
"""Seconds for which a cluster counts as wholly at work before anything is known of it."""

SEVERAL = 20
"""Tasks of a kind after which no more records of earlier runs are read."""


OPEN = ("waiting", "running")
"""States of a task that is still to be done."""


class Kind(NamedTuple):
    """What tasks have in common whose epochs take equally long.

    Attributes:
        stage: its name.
        training: of the stages that train a network.
        details: what else of their configurations makes a difference.
    """

    stage: str
    training: Training | None
    details: tuple[object, ...]


class Effort(NamedTuple):
    """What a task is planned to take.

    Attributes:
        kind: of the task.
        amount: epochs it adds; 1 for a stage without epochs.
    """

    kind: Kind
    amount: float


def effort_of(task: Task, before: Task | None) -> Effort:
    """What a task is planned to take.

    Args:
        task: the task.
        before: of a leg of a surrogate the one before it.
    """
    config = task.config
    names = ("kind", "queries", "model", "defense")
    views = getattr(config, "views", None)
    details = (*(getattr(config, name, None) for name in names), views and views.count)
    epochs, of_all = task.config.epochs(before.config if before else None)
    return Effort(Kind(task.stage, getattr(config, "training", None), details), epochs if of_all else 1.0)


class _Timed(NamedTuple):
    """Seconds, and the amount of work that they were for."""

    seconds: float = 0.0
    amount: float = 0.0


class _Pace(defaultdict[Kind, _Timed]):
    """Sums by kind."""

    def __init__(self) -> None:
        super().__init__(_Timed)

    def add(self, kind: Kind, seconds: float, amount: float) -> None:
        before = self[kind]
        self[kind] = _Timed(before.seconds + seconds, before.amount + amount)

    def of(self, matches: Callable[[Kind], bool]) -> float | None:
        """Mean seconds of an epoch of the kinds that match; None if none has been timed."""
        timed = [of_kind for kind, of_kind in self.items() if matches(kind)]
        amount = sum(of_kind.amount for of_kind in timed)
        return sum(of_kind.seconds for of_kind in timed) / amount if amount else None


@dataclass
class Paces:
    """Seconds an epoch by kind of task.

    What this run has finished counts first, then its tasks under way, then earlier runs. A matrix that stops early
    counts with all its planned epochs, so that the pace is what to expect of the next one.
    """

    _finished: _Pace = field(default_factory=_Pace)
    _under_way: _Pace = field(default_factory=_Pace)
    _earlier: _Pace = field(default_factory=_Pace)
    _recalled: Counter[Kind] = field(default_factory=Counter)

    def finish(self, effort: Effort, seconds: float) -> None:
        """Counts a task that this run finished."""
        self._finished.add(effort.kind, seconds, effort.amount)

    def watch(self, kind: Kind, seconds: float, epochs: float) -> None:
        """Counts epochs of a task under way."""
        self._under_way.add(kind, seconds, epochs)

    def recall(self, effort: Effort, seconds: float) -> None:
        """Counts a task that an earlier run finished."""
        self._recalled[effort.kind] += 1
        self._earlier.add(effort.kind, seconds, effort.amount)

    def wants(self, kind: Kind) -> bool:
        """Whether more tasks of earlier runs would help."""
        return self._recalled[kind] < SEVERAL

    def of(self, kind: Kind) -> float | None:
        """Seconds an epoch, or a task of a stage without epochs; None if nothing like it has been timed."""
        pace = self._first(lambda other: other == kind)
        if pace is None:
            pace = self._first(lambda other: other.stage == kind.stage)
        if pace is None and kind.stage in ON_THE_POOL:
            pace = self._stand_in(kind.stage)
        if pace is None and not STAGES[kind.stage].own_trial:
            return 0.0  # a cheap stage
        return pace

    def _first(self, matches: Callable[[Kind], bool]) -> float | None:
        paces = (timed.of(matches) for timed in (self._finished, self._under_way, self._earlier))
        return next((pace for pace in paces if pace is not None), None)

    def _stand_in(self, stage: str) -> float | None:
        for other, passes in ON_THE_POOL.items():
            pace = self._first(lambda kind, other=other: kind.stage == other)  # type: ignore[misc]
            if pace is not None:
                return pace * ON_THE_POOL[stage] / passes
        return None


class Workload:
    """What is left of the tasks of open points, by kind.

    Attributes:
        left: epochs left of the open tasks of a kind.
        open: open tasks of a kind, and of those `waiting`.
        size: epochs of the largest task of a kind.
        running: epochs left of each running task.
        trained: epochs that the tasks of a stage have done, and `spared` those of tasks no longer wanted.
    """

    def __init__(self) -> None:
        self.efforts: dict[str, Effort] = {}
        self._left: dict[str, float] = {}
        self.left: dict[Kind, float] = defaultdict(float)
        self.open: Counter[Kind] = Counter()
        self.waiting: Counter[Kind] = Counter()
        self.size: dict[Kind, float] = defaultdict(float)
        self.running: dict[str, float] = {}
        self.trained: dict[str, float] = defaultdict(float)
        self.spared: dict[str, float] = defaultdict(float)

    def enter(self, task: Task, before: Task | None) -> None:
        """Takes up a task; `before` as `effort_of` takes it."""
        effort = self.efforts[task.key] = effort_of(task, before)
        self.size[effort.kind] = max(self.size[effort.kind], effort.amount)

    def move(self, key: str, before: str, now: str) -> None:
        """A task goes from one state to another: waiting, running, done, failed, or "" while no point wants it."""
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
        elif before in OPEN:
            left = self._left.pop(key)
            left = 0.0 if now == "done" else left
            self.trained[kind.stage] += amount - left
            self.spared[kind.stage] += left

    def hear(self, key: str, left: float) -> None:
        """A running task has so many epochs left."""
        if key in self.running:
            self.left[self.efforts[key].kind] += left - self._left[key]
            self._left[key] = self.running[key] = left

    def wanted(self, stage: str) -> float:
        """The share of a stage's planned epochs that are trained before a point is stopped, in (0, 1].

        One more task, trained to its end, is added to those so far: the first points to end are those that stop.
        """
        one = max((size for kind, size in self.size.items() if kind.stage == stage), default=1.0)
        trained = self.trained[stage] + one
        return trained / (trained + self.spared[stage])


@dataclass
class Use:
    """How much of the cluster has been at work while there was work for all of it.

    Workers take time to start, and the sampler to propose: what is left will not use everything either.
    """

    _used: float = TRUSTED
    _offered: float = TRUSTED

    def add(self, share: float, seconds: float) -> None:
        """So much of the cluster was at work for so long."""
        self._used += share * seconds
        self._offered += seconds

    @property
    def share(self) -> float:
        """On average, in (0, 1]."""
        return self._used / self._offered


class _Work(NamedTuple):
    """Tasks of a kind: epochs left of all, how many tasks, and how many of them have not begun."""

    left: float
    tasks: float
    fresh: float


class Outlook:
    """Estimates how long a run still takes.

    Args:
        planner: of the study.
        workload: of the open points.
        paces: of tasks so far.
    """

    def __init__(self, planner: Planner, workload: Workload, paces: Paces) -> None:
        self._planner = planner
        self._workload = workload
        self._paces = paces
        self._proposed: dict[str, tuple[dict[Kind, _Work], dict[str, Effort]]] = {}
        self._judged: dict[str, dict[Kind, _Work]] = {}

    def kinds(self, unproposed: Mapping[str, int], targets: Mapping[str, float]) -> set[Kind]:
        """What kinds of tasks there is work left of; arguments as `seconds` takes them."""
        return set(self._work(unproposed)) | set(self._work_on(targets))

    def seconds(
        self,
        unproposed: Mapping[str, int],
        targets: Mapping[str, float],
        part: Callable[[str], float],
        per_trial: float,
    ) -> float | None:
        """Seconds until the last task ends.

        The work left is spread over all slots, but takes at least as long as one task of each stage after another.
        The attackers of the fronts begin when the search has ended.

        Args:
            unproposed: how many points are still to be proposed, by defense.
            targets: how many points the attackers of the fronts will probably attack, by defense.
            part: the share that a trial of a stage takes of all that works at once, in (0, 1].
            per_trial: seconds that a trial takes beside its epochs.

        Returns:
            None while a stage with work left, or one that is alike, has not been timed.
        """
        search = self._span(self._work(unproposed), self._workload.wanted("attacker"), part, per_trial)
        fronts = self._span(self._work_on(targets), 1.0, part, per_trial)  # none of these clones is stopped
        return None if search is None or fronts is None else search + fronts

    def _span(
        self, work: Mapping[Kind, _Work], wanted: float, part: Callable[[str], float], per_trial: float
    ) -> float | None:
        """Seconds for some work; `wanted` is the share of a clone's epochs that are trained."""
        total, longest = 0.0, defaultdict[str, float](float)
        for kind, of_kind in work.items():
            pace = self._paces.of(kind)
            if pace is None:
                return None
            share = wanted if kind.stage == "attacker" else 1.0
            own = per_trial if STAGES[kind.stage].own_trial else 0.0
            total += share * part(kind.stage) * (of_kind.left * pace + of_kind.tasks * own)
            if of_kind.fresh:
                task = share * (self._workload.size[kind] * pace + own)
                longest[kind.stage] = max(longest[kind.stage], task)
        for key, left in self._workload.running.items():
            kind = self._workload.efforts[key].kind
            if kind in work:
                longest[kind.stage] = max(longest[kind.stage], left * (self._paces.of(kind) or 0.0))
        return max(total, sum(longest.values()))

    def _work(self, unproposed: Mapping[str, int]) -> dict[Kind, _Work]:
        """What is left by kind, of open points and of those still to be proposed."""
        load = self._workload
        work = {
            kind: _Work(load.left[kind], tasks, load.waiting[kind]) for kind, tasks in load.open.items() if tasks
        }
        shared: dict[str, Effort] = {}
        for defense, points in unproposed.items():
            if points:
                own, groundwork = self._of_a_point(defense)
                shared |= groundwork
                for kind, each in own.items():
                    _add(work, kind, points * each.left, points * each.tasks)
        for key, effort in shared.items():
            if key not in load.efforts:
                _add(work, effort.kind, effort.amount, 1)
        return work

    def _work_on(self, targets: Mapping[str, float]) -> dict[Kind, _Work]:
        """What the attackers of the fronts will have to do, by kind."""
        work: dict[Kind, _Work] = {}
        for defense, expected in targets.items():
            for kind, each in self._of_a_target(defense).items():
                _add(work, kind, expected * each.left, expected * each.tasks)
        return work

    def _of_a_target(self, defense: str) -> dict[Kind, _Work]:
        """What the attackers of the fronts add for a point, by kind."""
        if defense not in self._judged:
            own: dict[Kind, _Work] = {}
            study = self._planner.study
            fixed = [Point(-2, name, params) for name, params in study.fixed if name == defense]
            stand_ins = placeholders(study, defense) if defense in study.sought else fixed
            for point in stand_ins[:1]:  # none of a baseline that the study names no more, or of a confirmation
                known = self._planner.point(point).tasks
                for key, task in self._planner.verdict(point).tasks.items():
                    if key not in known:
                        effort = effort_of(task, None)
                        _add(own, effort.kind, effort.amount, 1)
                        self._workload.size[effort.kind] = max(self._workload.size[effort.kind], effort.amount)
            self._judged[defense] = own
        return self._judged[defense]

    def _of_a_point(self, defense: str) -> tuple[dict[Kind, _Work], dict[str, Effort]]:
        """What a point still to be proposed adds, by kind, on average over `st_epoch`; and what points share."""
        if defense not in self._proposed:
            own: dict[Kind, _Work] = {}
            shared: dict[str, Effort] = {}
            points = placeholders(self._planner.study, defense)
            for point in points:
                tasks = self._planner.point(point).tasks
                for key, task in tasks.items():
                    effort = effort_of(task, tasks[task.continues] if task.continues else None)
                    if not STAGES[task.stage].shared:
                        _add(own, effort.kind, effort.amount / len(points), 1 / len(points))
                        self._workload.size[effort.kind] = max(self._workload.size[effort.kind], effort.amount)
                    else:
                        shared[key] = effort
            self._proposed[defense] = own, shared
        return self._proposed[defense]


def _add(work: dict[Kind, _Work], kind: Kind, left: float, tasks: float) -> None:
    """Adds tasks that have not begun."""
    before = work.get(kind, _Work(0.0, 0.0, 0.0))
    work[kind] = _Work(before.left + left, before.tasks + tasks, before.fresh + tasks)
