"""The driver of a study: hands out the tasks of many points as their inputs appear, and hears how they went."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from emma_tune.plan import Planner, Point, PointPlan, Task, named
from emma_tune.results.ledger import Ledger
from emma_tune.search.agenda import Agenda
from emma_tune.search.conclusions import Conclusions, Heard, Writer
from emma_tune.search.proposals import Proposer
from emma_tune.search.remaining import Outlook, Paces, effort_of
from emma_tune.search.shares import Shares
from emma_tune.stages import STAGES
from emma_tune.storage import Place
from emma_tune.storage.store import CorruptArtifactError, Record

Say = Callable[[str], None]

INTERVAL = 1.0
"""Seconds between reports: long against the cost of one, short against the patience of whoever interrupts."""

REPORTS = 200
"""A second that a driver hears with time to spare: of more trials each reports less often."""

OVER: Final = "over"
"""Answer to a request for a trial when every point is settled."""

LEARNING = ("gp", "tpe", "nsga2")
"""Samplers that propose by what was measured."""

RECALLED = 4
"""Points of earlier runs that are asked how much memory their tasks took: each has one of every kind."""


class Artifacts(Protocol):
    """What is needed of a `Store`."""

    def to_json(self) -> str:
        """For the way to a worker."""

    def check(self, stage: str, key: str) -> bool:
        """Whether an artifact is finished and undamaged."""

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact is finished."""

    def record(self, stage: str, key: str) -> Record | None:
        """What is known of a finished artifact."""

    def set_aside(self, stage: str, key: str) -> Place | None:
        """Moves a damaged artifact out of the way."""

    def drop_state(self, key: str) -> None:
        """Forgets the unfinished state of a task."""


class StudyDriver:
    """Drive one study: read the ledger, propose points, hand out tasks, conclude.

    Args:
        planner: of the study.
        store: where artifacts lie.
        ledger: the study's points so far.
        writer: appends to it.
        proposers: Optuna's side, by defence that is searched; of none if only the ledger's points are wanted.
        run: identifies this run.
        slots: how many trials can run at once.
        shares: `cpu` and `gpu` of each stage's trials; `gpu` may be `auto`.
        say: tells the user something worth a line.
        gpus: of all nodes.
    """

    def __init__(
        self,
        *,
        planner: Planner,
        store: Artifacts,
        ledger: Ledger,
        writer: Writer,
        proposers: Mapping[str, Proposer],
        run: str,
        slots: int,
        shares: Mapping[str, Mapping[str, float | str]],
        say: Say,
        gpus: int = 0,
    ) -> None:
        self._planner = planner
        self._store = store
        self._ledger = ledger
        self._writer = writer
        self._proposers = proposers
        self._run = run
        self._slots = self.most_slots = slots
        self._shares = Shares(shares, say, gpus)
        self.say = say
        self._deaths: dict[str, str] = {}
        self._given_up: dict[str, str] = {}
        self.agenda = Agenda(self._is_done)
        self.granted: dict[str, Mapping[str, float]] = {}
        self._paces = Paces()
        self._outlook = Outlook(planner, self.agenda.workload, self._paces)
        self._epochs: dict[str, tuple[str, int]] = {}
        self.trials: dict[str, list[Task]] = {}
        self.conclusions = Conclusions(planner, ledger, writer, proposers, self._record_of)
        self.busy = 0.0
        self._asked = Counter(point.defense for point in ledger.points.values())
        sought, params = planner.study.sought, ledger.params_of
        self._left = {name: sought[name].left(params(name)) for name in proposers}
        self._next_number = ledger.next_number
        self._heard: dict[str, Heard] = {}
        self._verdicts: dict[int, PointPlan] | None = None
        self._recalled: set[str] = set()
        self._waiting: set[str] = set()
        self._stopped: list[Task] = []
        self._take_up_ledger()

    # --- trials ------------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configure the next trial; None while nothing is ready, `OVER` when every point is settled."""
        if len(self.trials) > self._slots:  # one more than can run: a worker that ends its trial goes on at once
            return None
        tasks = self.agenda.next()
        while tasks is None and self._may_propose():
            self._propose()
            tasks = self.agenda.next()
        if tasks is None and self._is_searched():
            self._attack_fronts()
            tasks = self.agenda.next()
        if tasks is None:
            over = self._verdicts is not None and not self.agenda.open_points
            return OVER if over else None
        self._recall(tasks)
        share = self._shares.grant(trial_id, tasks)
        if share is None:
            self.agenda.release(tasks)
            return None
        self.trials[trial_id] = tasks
        self.granted[tasks[0].stage] = share
        return {
            "tasks": [task.to_json() for task in tasks],
            "store": self._store.to_json(),
            "run": self._run,
            "share": share,
            "interval": max(INTERVAL, self._slots / REPORTS),
        }

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """A trial reports.

        Returns:
            True if nobody waits for it any more, so that it can be stopped.
        """
        self.busy += result.get("busy", 0.0)
        self._hear_of_epochs(trial_id, result)
        self._hear_of_waiting(trial_id, result.get("waiting"))
        best = result.get("metrics", {}).get("best.validation.accuracy")
        if best is not None:
            key, before = result["task"], self._heard.get(result["task"])
            self._heard[key] = Heard(best, _continued(before, result["history"]))
            if before is None or before.best != best:
                self.agenda.touch(key)
                self._leave_dominated()
        tasks = self.trials.get(trial_id, [])
        return bool(tasks) and not result.get("done") and not self.agenda.wants(tasks)

    def _hear_of_epochs(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A task under way has come as far as this, and took its time for it."""
        if not result.get("epochs"):
            return  # a stage without epochs, or one that has failed
        key, epoch = result["task"], result["epoch"]
        load = self.agenda.workload
        before, reached = self._epochs.get(trial_id, (None, 0))
        if before == key and epoch > reached and key in load.efforts:
            self._paces.watch(load.efforts[key].kind, result["busy"], epoch - reached)
        self._epochs[trial_id] = key, epoch
        load.hear(key, result["epochs"] - epoch)

    def _hear_of_waiting(self, trial_id: str, what: str | None) -> None:
        """A worker waits for the storage, or no longer; said when the first one does."""
        if what is None:
            self._waiting.discard(trial_id)
            return
        if not self._waiting:
            self.say(f"waiting for the storage: {what}")
        self._waiting.add(trial_id)

    def ended(self, trial_id: str, result: Mapping[str, Any] | None) -> None:
        """Conclude a trial: its tasks are done, unwanted or failed; without a result its worker died too often."""
        tasks = self.trials.pop(trial_id, [])
        self._waiting.discard(trial_id)
        self._epochs.pop(trial_id, None)
        done = [task.key for task in tasks if self._store.has(task.stage, task.key)]
        for key in done:
            self._heard.pop(key, None)
        self.agenda.done(done)
        self._time(task for task in tasks if task.key in done)
        share = self._shares.ended(trial_id)
        if tasks and self._shares.is_auto(tasks[0].stage):
            self._measure(task for task in tasks if task.key in done)
        left = next((task for task in tasks if task.key not in done), None)
        if left is not None and not self.agenda.wants(tasks):
            self.agenda.release(tasks)
            self._store.drop_state(left.key)
            self._stopped.append(left)
            self._heard.pop(left.key, None)
        elif left is not None:
            reason = self._why(trial_id, left, share, result)
            if reason is None:
                self.agenda.release(tasks)
            else:
                self.agenda.failed(tasks, left.key, reason)
        self._deaths.pop(trial_id, None)
        self._given_up.pop(trial_id, None)
        self._settle()

    def _why(self, trial_id: str, left: Task, share: float, result: Mapping[str, Any] | None) -> str | None:
        """Why a trial ended before `left` was done; None if that is to be tried again."""
        if trial_id in self._given_up:
            return self._given_up[trial_id]
        if result is None:
            why = self._deaths.get(trial_id)
            return f"{left.stage}: its worker died again and again" + (f"; the last time {why}" if why else "")
        if "out_of_memory" in result:
            return self._shares.out_of_memory(left, share, result["out_of_memory"])
        return str(result.get("reason", f"{left.stage}: its trial ended without its artifact"))

    def explain(self, trial_id: str, why: str) -> None:
        """The worker of a trial died; if that is the trial's end, its reason is this."""
        self._deaths[trial_id] = why

    def give_up(self, trial_id: str, reason: str) -> None:
        """A trial is about to be ended from outside."""
        self._given_up[trial_id] = reason

    def tidy(self) -> None:
        """The workers are gone: one that was stopped may have saved, as it went, what nobody wants."""
        for task in self._stopped:
            if not self.agenda.wants([task]):
                self._store.drop_state(task.key)

    def resize(self, slots: int, gpus: int, shares: Mapping[str, Mapping[str, float | str]]) -> None:
        """Nodes have come or gone: so many trials can run at once, on so many GPUs, and take so much."""
        self._slots = slots
        self.most_slots = max(self.most_slots, slots)
        self._shares.resize(gpus, shares)

    # --- points -------------------------------------------------------------------------------------------

    def _take_up_ledger(self) -> None:
        """Points of earlier runs are planned again: what the store has is done, the rest is to be done."""
        if self._before_points:
            self.agenda.add(self._planner.groundwork())
            self._settle()
            return
        left = []
        for point in self._ledger.points.values():
            if self.conclusions.was_left(point):
                left.append(point)
            else:
                self.agenda.add(self._planner.point(point))
        known = [(point.defense, point.params) for point in self._ledger.points.values()]
        for defense, params in self._planner.study.fixed:
            if (defense, params) not in known:
                self._open(Point(self._next_number, defense, params), {})
        self._settle()
        for point in left:
            if not self.conclusions.leave_again(point):
                self.agenda.add(self._planner.point(point))
        self._settle()  # another study may have done all that is open again
        for point in list(self._ledger.points.values()):
            if point.defense in self._proposers and self.agenda.is_open(point):
                self._proposers[point.defense].adopt(point)
        unseen, sampler = sum(self._left.values()), self._planner.study.search.sampler
        if self._planner.until is not None and unseen > 1 and sampler in LEARNING:
            self.say(
                f"--until {self._planner.until}: {unseen} points are proposed before any of them is measured, so "
                f"that the sampler {sampler} learns nothing between them; search.points says how many"
            )

    @property
    def _before_points(self) -> bool:
        """Whether the run ends with a stage that needs no point."""
        return self.until is not None and STAGES[self.until].before_points

    def _open(self, point: Point, memory: Mapping[str, Any]) -> None:
        self._writer.asked(point, memory)  # before anything is done for it: a kill loses no point
        self._ledger.points[point.number] = point
        self._next_number = max(self._next_number, point.number + 1)
        self._asked[point.defense] += 1
        if self._left.get(point.defense):
            self._left[point.defense] -= 1
        self.agenda.add(self._planner.point(point))

    def _points_left(self) -> bool:
        """Whether to propose another point some time; not on a foundation that has failed."""
        if self._before_points:
            return False
        sound = not any(self.agenda.has_failed(task) for task in self._foundations())
        return sound and any(self._left.values())

    def _is_searched(self) -> bool:
        """Whether every point is concluded and none is left to propose, and the fronts are not attacked yet."""
        return self._verdicts is None and not self.agenda.open_points and not self._points_left()

    def _attack_fronts(self) -> None:
        """Open the plans of the attackers that wait for the end of the search (`when: front`)."""
        self._verdicts = {}
        self.agenda.workload.spared.clear()  # none of the clones that are still to be trained will be stopped
        if self._planner.until is not None:
            return
        for point in self.conclusions.targets():
            plan = self._planner.verdict(point)
            if plan.evaluations:
                self._verdicts[point.number] = plan
                self.agenda.add(plan)
        self._settle()

    def _foundations(self) -> list[Task]:
        """What every point stands on: victim and posteriors of each seed."""
        return [task for seed in self._planner.study.seeds for task in self._planner.foundation(seed)]

    def _may_propose(self) -> bool:
        """Ask only when a point could use what is free, so that proposals know as much as possible."""
        if not self._points_left() or self.agenda.open_points >= self._slots:
            return False
        return self._laid() or not self.agenda.open_points

    def _laid(self) -> bool:
        """Whether every point's foundations are there."""
        return all(self.agenda.is_done(task) for task in self._foundations())

    @property
    def in_full_swing(self) -> bool:
        """Whether there is work for all slots: points are still to be proposed, and may be."""
        return self._points_left() and self._laid()

    def _propose(self) -> None:
        number = self._next_number
        defense = max(self._left, key=self._left.__getitem__)  # in turn, so that they know as much of one another
        before = (point for point in self._ledger.points.values() if point.defense == defense)
        params, memory = self._proposers[defense].propose(number, self._asked[defense], before)
        self._open(Point(number, defense, params), memory)
        self._settle()

    def _settle(self) -> None:
        """Conclude what can be concluded."""
        for settled in self.agenda.settle():
            point = settled.plan.point
            if settled.failed is not None:
                assert settled.reason is not None
                fail = self.conclusions.fail if self._verdicts is None else self.conclusions.fail_to_judge
                fail(point, settled.failed, settled.reason)
                self.say(f"{named(point.number)} failed: {settled.reason}")
            elif self._verdicts is not None:
                self.conclusions.judge(settled.plan)
            elif self._planner.until is not None:
                self.conclusions.pause(point)
            else:
                self.conclusions.finish(settled.plan)
        self._leave_dominated()

    def _leave_dominated(self) -> None:
        if self._planner.until is not None or self._verdicts is not None:
            return  # asked for as far as a stage, and not for what is left of it; or the search is over
        for point in self.conclusions.leave_dominated(self.agenda.changed(), self._heard):
            self.agenda.drop(point)

    # --- store --------------------------------------------------------------------------------------------

    def _is_done(self, task: Task) -> bool:
        try:
            done = self._store.check(task.stage, task.key)
            effort = self.agenda.workload.efforts[task.key]
            if done and self._paces.wants(effort.kind) and (record := self._store.record(task.stage, task.key)):
                self._paces.recall(effort, record.provenance.get("seconds", 0.0))
            return done
        except CorruptArtifactError as error:
            aside = self._store.set_aside(task.stage, task.key)
            self.say(f"corrupt artifact, recomputing it: {error} (moved to {aside})")
            return self._store.has(task.stage, task.key)

    def _record_of(self, task: Task) -> Record | None:
        return self._store.record(task.stage, task.key) if self.agenda.is_done(task) else None

    def _time(self, tasks: Iterable[Task]) -> None:
        """How long this run's finished tasks took."""
        for task in tasks:
            if done := self.conclusions.done_of(task):
                self._paces.finish(self.agenda.workload.efforts[task.key], done.seconds)

    def _measure(self, tasks: Iterable[Task]) -> None:
        """What finished tasks took of a GPU."""
        for task in tasks:
            if record := self._store.record(task.stage, task.key):
                self._shares.measured(record.recipe, record.provenance)

    def _recall(self, tasks: list[Task]) -> None:
        """What tasks of a kind took in earlier runs, once for each kind that is not known."""
        wanted = {task.stage for task in self._shares.unknown(tasks)} - self._recalled
        self._recalled |= wanted
        if not wanted:
            return
        for outcome in list(self._ledger.outcomes.values())[-RECALLED:]:
            for key, done in outcome.tasks.items():
                if done.stage in wanted:
                    with contextlib.suppress(CorruptArtifactError):
                        if record := self._store.record(done.stage, key):
                            self._shares.measured(record.recipe, record.provenance)

    def recall_paces(self, records: Iterable[tuple[str, Record]]) -> None:
        """Learns how long tasks of other runs in the store took, where this run has tasks of their kind.

        Args:
            records: with the stage of each.
        """
        kinds = self._outlook.kinds(self._left, self._targets())
        for stage, record in records:
            if stage == "surrogate":
                continue  # a record does not tell with which leg its seconds began
            effort = effort_of(Task.from_json(json.dumps({**record.recipe, "continues": None})), None)
            if effort.kind in kinds and self._paces.wants(effort.kind):
                self._paces.recall(effort, record.provenance.get("seconds", 0.0))

    def remaining(self, part: Callable[[str], float], per_trial: float) -> float | None:
        """Seconds until the last task ends, about; arguments as `Outlook.seconds` takes them."""
        unproposed = self._left if self._points_left() else {}
        return self._outlook.seconds(unproposed, self._targets(), part, per_trial)

    def _targets(self) -> dict[str, float]:
        """How many points the attackers of the fronts will probably attack, by defense, unless they have begun."""
        waiting = any(not attacker.counts for attacker in self._planner.study.attackers.values())
        if not waiting or self._verdicts is not None or self._planner.until is not None:
            return {}
        names = {*self._asked, *self._left}
        points = {name: self._asked[name] + self._left.get(name, 0) for name in names}
        return {name: self.conclusions.expected_targets(name, count) for name, count in points.items() if count}

    @property
    def wanted(self) -> int:
        """Points there will be when the study is complete."""
        return len(self._ledger.points) + sum(self._left.values())

    @property
    def objectives(self) -> Mapping[str, str]:
        """What the study searches for."""
        return self._planner.study.objectives

    @property
    def until(self) -> str | None:
        """The last stage of this run; None if it is to the end."""
        return self._planner.until


def _continued(before: Heard | None, rows: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Epochs heard of before with those of a new report; a trial that was tried again reports some once more."""
    first = rows[0]["epoch"] if rows else math.inf
    return [*(row for row in (before.epochs if before else ()) if row["epoch"] < first), *rows]
