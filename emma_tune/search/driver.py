"""The driver of a study: hands out trials as their inputs appear, and takes in how they went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from emma_tune.plan import Task
from emma_tune.search.agenda import Agenda
from emma_tune.search.outcomes import PointOutcomes, SearchContext
from emma_tune.search.paces import Paces
from emma_tune.search.point_search import PointSearch
from emma_tune.search.remaining_time import RemainingTime
from emma_tune.search.task_records import TaskRecords
from emma_tune.search.trial_shares import Capacity, TrialShares
from emma_tune.search.workload import Workload
from emma_tune.storage.store import Record, Store

INTERVAL = 1.0
"""Seconds between reports: long against the cost of one, short enough for an interruption."""

REPORTS = 200
"""Reports per second that a driver handles with time to spare: with more trials each reports less often."""

OVER: Final = "over"
"""Answer to a request for a trial when every point is closed."""


class StudyDriver:
    """Drives one study. `new_driver` builds one."""

    def __init__(
        self,
        points: PointSearch,
        records: TaskRecords,
        shares: TrialShares,
        time: RemainingTime,
        run: str,
        say: Callable[[str], None],
    ) -> None:
        self.points = points
        self.planner = points.planner
        self.shares = shares
        self.say = say
        self._records = records
        self._time = time
        self._run = run
        self.agenda = points.agenda
        self.outcomes = points.outcomes
        self.trials: dict[str, list[Task]] = {}  # under way, with their tasks
        self.busy = 0.0  # seconds that stages ran, of all trials together
        self.most_slots = shares.capacity.slots  # how many trials could run at once, at most so far
        self.held_back = False  # whether a trial waits until a task of its kind shows what it takes of a GPU
        self._deaths: dict[str, str] = {}
        self._given_up: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._stopped: list[Task] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configure the next trial; None while nothing is ready, `OVER` when every point is closed."""
        slots = self.shares.capacity.slots
        if len(self.trials) > slots:  # one more than can run: a worker that ends its trial goes on at once
            return None
        # slots are counted by the smallest share of any stage: larger ones may have filled the GPUs
        idle = len(self.trials) < slots and self.shares.has_room("attacker")
        tasks = self.points.next_tasks(slots, idle=idle)
        self.held_back = False
        if tasks is None:
            return OVER if self.points.is_over else None
        share = self.shares.grant(trial_id, tasks)
        if share is None:
            self.agenda.release(tasks)
            self.held_back = True
            return None
        self.trials[trial_id] = tasks
        return {
            "tasks": [task.to_json() for task in tasks],
            "store": self._records.store.to_json(),
            "run": self._run,
            "share": share,
            "interval": max(INTERVAL, slots / REPORTS),
        }

    def needs_no_trial(self) -> bool:
        """Propose and close points as long as the store has all they need; True if that was the study's end."""
        tasks = self.points.next_tasks(self.shares.capacity.slots, idle=True)
        if tasks is not None:
            self.agenda.release(tasks)
        return tasks is None and self.points.is_over

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Take in a trial's report; True if no open point needs the trial any more, so that it can be stopped."""
        self.busy += result.get("busy", 0.0)
        self._time.report(trial_id, result)
        if "waiting" not in result:
            self._waiting.discard(trial_id)
        else:
            if not self._waiting:  # the first worker to wait for the storage is reported
                self.say(f"waiting for the storage: {result['waiting']}")
            self._waiting.add(trial_id)
        self.points.report_clone(result)
        tasks = self.trials.get(trial_id, [])
        return bool(tasks) and not result.get("done") and not self.agenda.wants(tasks)

    def ended(self, trial_id: str, result: Mapping[str, Any] | None) -> None:
        """End a trial: its tasks are done, unwanted or failed; without a result its worker died too often."""
        tasks = self.trials.pop(trial_id, [])
        self._waiting.discard(trial_id)
        self._time.end(trial_id)
        done = self._records.newly_done(tasks)
        for task in done:
            self.outcomes.early_stopping.forget_clone(task.key)
        self.agenda.done(task.key for task in done)
        for task in done:
            if summary := self._records.summary(task):
                self._time.finish(task, summary.done.seconds)
        share = self.shares.end(trial_id)
        if tasks:
            self.shares.measure(tasks[0].stage, self._records.records(done))
        left = next((task for task in tasks if task not in done), None)
        if left is not None:
            self._end_early(trial_id, tasks, left, share, result)
        self._deaths.pop(trial_id, None)
        self._given_up.pop(trial_id, None)
        self.points.close_points()

    def _end_early(
        self, trial_id: str, tasks: list[Task], left: Task, share: float, result: Mapping[str, Any] | None
    ) -> None:
        """End a trial before all its tasks are done, of which `left` is the first that is not."""
        if not self.agenda.wants(tasks):
            self.agenda.release(tasks)
            self._records.store.drop_state(left.key)
            self._stopped.append(left)
            self.outcomes.early_stopping.forget_clone(left.key)
            return
        reason = self._why(trial_id, left, share, result)
        if reason is None:
            self.agenda.release(tasks)
        else:
            self.agenda.failed(tasks, left.key, reason)

    def _why(self, trial_id: str, left: Task, share: float, result: Mapping[str, Any] | None) -> str | None:
        """Explain why a trial ended before `left` was done; None if that is to be tried again."""
        if trial_id in self._given_up:
            return self._given_up[trial_id]
        if result is None:
            why = self._deaths.get(trial_id)
            return f"{left.stage}: its worker died repeatedly" + (f"; the last time {why}" if why else "")
        if "out_of_memory" in result:
            return self.shares.out_of_memory(left, share, result["out_of_memory"])
        return str(result.get("reason", f"{left.stage}: its trial ended without its artifact"))

    def explain(self, trial_id: str, why: str) -> None:
        """Note why the worker of a trial died, in case that is the trial's end."""
        self._deaths[trial_id] = why

    def give_up(self, trial_id: str, reason: str) -> None:
        """Note why a trial is about to be ended from outside."""
        self._given_up[trial_id] = reason

    def tidy(self) -> None:
        """Delete, once the workers are gone, what stopped ones have saved and no open point needs."""
        for task in self._stopped:
            if not self.agenda.wants([task]):
                self._records.store.drop_state(task.key)

    def resize(self, capacity: Capacity) -> None:
        """Take in what the cluster offers, now that nodes have come or gone."""
        self.shares.capacity = capacity
        self.most_slots = max(self.most_slots, capacity.slots)

    def recall_paces(self, records: Iterable[tuple[str, Record]]) -> None:
        """Learn how long tasks of other runs in the store took; `records` with the stage of each."""
        self._time.recall(records, self.points.unproposed(), self.points.expected_targets())

    def remaining(self, part: Callable[[str], float], per_trial: float) -> float | None:
        """Estimate the seconds until the last task ends; arguments as `RemainingTime.seconds` takes them."""
        return self._time.seconds(self.points.unproposed(), self.points.expected_targets(), part, per_trial)


def new_driver(
    context: SearchContext, store: Store, capacity: Capacity, *, run: str, say: Callable[[str], None]
) -> StudyDriver:
    """Build the driver of a study, which takes up the ledger's points at once; `say` shows the user a line."""
    workload, paces = Workload(), Paces()
    records = TaskRecords(store, context.ledger, workload, paces, say)
    points = PointSearch(context, Agenda(records.is_done, workload), PointOutcomes(context, records), say)
    shares = TrialShares(capacity, records.earlier_records, say)
    return StudyDriver(points, records, shares, RemainingTime(context.planner, workload, paces), run, say)
