"""How long a run still takes: epochs left, times seconds per epoch by kind of task. Pure: no Ray, no files.

An estimate costs as much as there are kinds of tasks and running ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from emma_tune.plan import Planner, Point, Task, placeholders
from emma_tune.search.paces import Paces
from emma_tune.search.workload import Effort, TaskKind, Workload, effort_of
from emma_tune.stages import STAGES
from emma_tune.storage.store import Record


class _Work(NamedTuple):
    """Tasks of a kind: epochs left of all, how many tasks, and how many of them have not begun."""

    left: float
    tasks: float
    fresh: float


class RemainingTime:
    """Estimates how long a run still takes, from the work left and the pace of tasks so far."""

    def __init__(self, planner: Planner, workload: Workload, paces: Paces) -> None:
        self._planner = planner
        self._workload = workload
        self._paces = paces
        self._epochs: dict[str, tuple[str, int]] = {}
        self._of_a_point = cache(self._work_of_a_point)
        self._of_a_target = cache(self._work_of_a_target)

    # --- events -------------------------------------------------------------------------------------------

    def report(self, trial: str, result: Mapping[str, Any]) -> None:
        """Take in how many epochs a trial's task has done, and in what time."""
        if not result.get("epochs"):
            return  # a stage without epochs, or one that has failed
        key, epoch = result["task"], result["epoch"]
        before, reached = self._epochs.get(trial, (None, 0))
        if before == key and epoch > reached and key in self._workload.efforts:
            self._paces.watch(self._workload.efforts[key].kind, result["busy"], epoch - reached)
        self._epochs[trial] = key, epoch
        self._workload.update(key, result["epochs"] - epoch)

    def end(self, trial: str) -> None:
        """Forget a trial that has ended."""
        self._epochs.pop(trial, None)

    def finish(self, task: Task, seconds: float) -> None:
        """Count a task that this run finished."""
        self._paces.finish(self._workload.efforts[task.key], seconds)

    def recall(
        self, records: Iterable[tuple[str, Record]], unproposed: Mapping[str, int], targets: Mapping[str, float]
    ) -> None:
        """Learn from records of other runs, each with its stage, how long tasks of the kinds of this run take."""
        kinds = set(self._work(unproposed)) | set(self._work_on(targets))
        for stage, record in records:
            if stage == "surrogate":
                continue  # a record does not tell with which leg its seconds began
            effort = effort_of(Task.from_recipe(record.recipe), None)
            if effort.kind in kinds and self._paces.wants(effort.kind):
                self._paces.recall(effort, record)

    # --- the estimate -------------------------------------------------------------------------------------

    def seconds(
        self,
        unproposed: Mapping[str, int],
        targets: Mapping[str, float],
        part: Callable[[str], float],
        per_trial: float,
    ) -> float | None:
        """Estimate the seconds until the last task ends.

        The work left is spread over all slots, but takes at least as long as one task of each stage after another.
        The attackers of the fronts begin when the search has ended.

        Args:
            unproposed: how many points are still to be proposed, by defense.
            targets: how many points the attackers of the fronts will probably attack, by defense.
            part: the share that a trial of a stage takes of all that works at once, in (0, 1].
            per_trial: seconds that a trial takes beside its epochs.

        Returns:
            None while a stage with work left, or one that is similar, has not been timed.
        """
        search = self._span(self._work(unproposed), self._workload.trained_share("attacker"), part, per_trial)
        fronts = self._span(self._work_on(targets), 1.0, part, per_trial)  # none of these clones is stopped
        return None if search is None or fronts is None else search + fronts

    def _span(
        self, work: Mapping[TaskKind, _Work], trained: float, part: Callable[[str], float], per_trial: float
    ) -> float | None:
        """Estimate the seconds for some work; `trained` is the share of a clone's epochs that are trained."""
        total, longest = 0.0, defaultdict[str, float](float)
        for kind, of_kind in work.items():
            pace = self._paces.of(kind)
            if pace is None:
                return None
            share = trained if kind.stage == "attacker" else 1.0
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

    def _work(self, unproposed: Mapping[str, int]) -> dict[TaskKind, _Work]:
        """Sum up the work left by kind, of open points and of those still to be proposed."""
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

    def _work_on(self, targets: Mapping[str, float]) -> dict[TaskKind, _Work]:
        """Sum up what the attackers of the fronts will have to do, by kind."""
        work: dict[TaskKind, _Work] = {}
        for defense, expected in targets.items():
            for kind, each in self._of_a_target(defense).items():
                _add(work, kind, expected * each.left, expected * each.tasks)
        return work

    def _work_of_a_target(self, defense: str) -> dict[TaskKind, _Work]:
        """Sum up what the attackers of the fronts add for a point, by kind."""
        own: dict[TaskKind, _Work] = {}
        study = self._planner.study
        fixed = [Point(-2, name, params) for name, params in study.fixed if name == defense]
        stand_ins = placeholders(study, defense) if defense in study.searches else fixed
        for point in stand_ins[:1]:  # none of a baseline that the study no longer names, or of a confirmation
            known = self._planner.point(point).tasks
            for key, task in self._planner.front_attack(point).tasks.items():
                if key not in known:
                    effort = effort_of(task, None)
                    _add(own, effort.kind, effort.amount, 1)
                    self._workload.enlarge(effort)
        return own

    def _work_of_a_point(self, defense: str) -> tuple[dict[TaskKind, _Work], dict[str, Effort]]:
        """Sum up what a point still to be proposed adds, averaged over `st_epoch`; and what such points share."""
        own: dict[TaskKind, _Work] = {}
        shared: dict[str, Effort] = {}
        points = placeholders(self._planner.study, defense)
        for point in points:
            tasks = self._planner.point(point).tasks
            for key, task in tasks.items():
                effort = effort_of(task, tasks[task.continues] if task.continues else None)
                if not STAGES[task.stage].shared:
                    _add(own, effort.kind, effort.amount / len(points), 1 / len(points))
                    self._workload.enlarge(effort)
                else:
                    shared[key] = effort
        return own, shared


def _add(work: dict[TaskKind, _Work], kind: TaskKind, left: float, tasks: float) -> None:
    """Add tasks that have not begun."""
    before = work.get(kind, _Work(0.0, 0.0, 0.0))
    work[kind] = _Work(before.left + left, before.tasks + tasks, before.fresh + tasks)
