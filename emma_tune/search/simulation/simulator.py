"""One study on a simulated clock: the real planner, driver and sampler; nothing that runs.

The driver does one thing at a time, as Ray Tune's does: it takes in the end of a trial, asks for a trial, or
starts one. A start holds it up for a while, and so does a proposal; what is free meanwhile waits. When it is idle,
it takes in ends and reports at once. A trial takes as long as its tasks together; clones report how far they are.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from emma_tune.plan import GIVEN, Planner, Task
from emma_tune.plan.materials.networks import initial_weights
from emma_tune.results.ledger import Ledger
from emma_tune.search.driver import OVER, new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.simulation.cluster import Cluster, Demand, Placement
from emma_tune.search.simulation.memory import MemoryLedger, MemoryStore
from emma_tune.search.simulation.replay import ASKING, CHAIN, FOUNDATION, NO_ROOM, STARTING, TAIL, Replay
from emma_tune.search.simulation.times import TimedProposer
from emma_tune.search.trial_shares import Capacity, slots_of
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.storage.artifact import Metrics
from emma_tune.study import Study

UNREAD = "unread"
"""Stands for the fingerprints of images and weights, which a simulation does not look at."""


class TaskModel(Protocol):
    """What the tasks of a simulated study take, and what they would leave."""

    def seconds(self, task: Task, before: Task | None) -> float:
        """Return the seconds of a task; `before` is the previous leg of a surrogate.

        Raises:
            StudyError: if nothing is known of its stage.
        """

    def curve(self, task: Task) -> Sequence[float]:
        """Return what a clone reports at equal intervals: its best validation accuracy so far, the final one last.

        Empty for what is no clone. The responses that the clone learns from are finished.
        """

    def metrics(self, task: Task) -> Metrics:
        """Return the metrics of a task, as it finishes; those of its inputs have been asked for before."""


@dataclass(eq=False)
class _Trial:
    """A trial that is asked for, and perhaps runs since `began`; its clone, if any, reports `curve`."""

    name: str
    tasks: list[Task]
    demand: Demand
    seconds: list[float]
    curve: Sequence[float]
    placement: Placement | None = None
    began: float = 0.0
    stopped: bool = False
    over: bool = False  # it has ended, whether or not the driver has taken that in

    def rows(self, reports: int) -> list[dict[str, float]]:
        """Return the epochs that the clone has done by one of its reports."""
        task = self.tasks[0]
        of_all = getattr(getattr(task.config, "training", None), "epochs", 0)
        if not self.curve:
            return [{}] * of_all
        each = of_all / len(self.curve)
        return [
            {"epoch": epoch, "best.validation.accuracy": self.curve[int(epoch / each)]}
            for epoch in range(round(reports * each))
        ]


class _Event(NamedTuple):
    """The end of a trial (report 0), or one of its clone's reports, counted from 1."""

    at: float
    order: int
    trial: _Trial
    report: int


class Simulation:
    """Runs one study on a simulated cluster; nothing of it counts as done.

    Args:
        study: the study.
        cluster: where it runs.
        model: what its tasks take and leave.
        start_seconds: what the driver needs for a trial.
        proposers: by searched defense; those of the study if None.
        writer: records every point, as the ledger of a run does.

    Raises:
        StudyError: if a task finds no room on any node, or nothing is known of how long a stage takes.
    """

    def __init__(
        self,
        study: Study,
        cluster: Cluster,
        model: TaskModel,
        start_seconds: float,
        *,
        proposers: Mapping[str, TimedProposer] | None = None,
        writer: MemoryLedger | None = None,
    ) -> None:
        weights = dict.fromkeys([*initial_weights(study), GIVEN], UNREAD)
        self._planner = Planner(study, dict.fromkeys(study.image_sets, UNREAD), weights)
        self._cluster, self._model, self._start_seconds = cluster, model, start_seconds
        shares = {stage: cluster.share(study, stage) for stage in STAGES}
        capacity = {"cpu": cluster.nodes * cluster.cpus, "gpu": cluster.nodes * cluster.gpus}
        slots = slots_of([shares[stage] for stage in OWN_TRIAL_STAGES], capacity["cpu"], capacity["gpu"])
        self._demands = {stage: Demand.of(*share) for stage, share in shares.items()}
        self._store, self._writer, self._ledger = MemoryStore(), writer or MemoryLedger(), Ledger()
        self._proposers = proposers or {defense: TimedProposer(study, defense) for defense in study.searches}
        self._driver = new_driver(
            SearchContext(self._planner, self._ledger, self._writer, self._proposers),
            self._store,
            Capacity(slots, {stage: {"cpu": cpu, "gpu": gpu} for stage, (cpu, gpu) in shares.items()}, 0),
            run="simulated",
            say=lambda line: None,
        )
        self._legs: dict[str, Task] = {}
        self._waiting: dict[Demand, deque[_Trial]] = {}
        self._running: dict[str, _Trial] = {}  # by the key of the first task
        self._events: list[_Event] = []
        self._news: deque[_Event] = deque()  # events that the driver has not taken in yet
        self._over, self._asked, self._limit = False, 0, slots + 1
        unit = "gpu" if any(demand.gpu for demand in self._demands.values()) else "cpu"
        self.replay = Replay(slots, unit, capacity)

    def run(self) -> Replay:
        """Replay the study to its end."""
        for _ in self.steps():
            pass
        return self.replay

    def steps(self) -> Iterator[None]:
        """Replay the study to its end, in steps, between which it can be looked at or left."""
        while True:
            self._take_in_news()
            while self._events and self._events[0].trial.stopped:
                heapq.heappop(self._events)
            if self._start() or self._ask():
                continue
            if not self._events:
                break
            self._advance(self._events[0].at, self._reason())
            yield
        assert self._over, "nothing is left to run, so every point is closed"
        replay, outcomes = self.replay, self._driver.outcomes
        replay.points.update({"dominated": 0, **outcomes.stopped, "finished": outcomes.finished})
        replay.sampled = sum(proposer.real for proposer in self._proposers.values())
        replay.slowest_ask = max((proposer.slowest for proposer in self._proposers.values()), default=0.0)

    def spent(self) -> dict[str, float]:
        """Return the seconds that each stage has run so far, in tasks that are finished, stopped or under way."""
        spent = Counter(self.replay.seconds) + Counter(self.replay.cut)
        for trial in self._running.values():
            spent.update(self._elapsed(trial))
        return dict(spent)

    def _elapsed(self, trial: _Trial) -> dict[str, float]:
        """Return the seconds of each stage of a trial so far."""
        left, elapsed = self.replay.makespan - trial.began, {}
        for task, seconds in zip(trial.tasks, trial.seconds, strict=True):
            elapsed[task.stage] = min(left, seconds)
            left -= elapsed[task.stage]
        return elapsed

    # --- the driver's moves -------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start a trial that there is room for."""
        for demand, line in self._waiting.items():
            placement = self._cluster.place(demand) if line else None
            if placement is None:
                continue
            trial = line.popleft()
            trial.placement = placement
            self._hold_up(self._start_seconds, STARTING)
            self.replay.trials += 1
            self._running[trial.tasks[0].key] = trial
            if self._driver.hear(trial.name, {}):  # its point was stopped while it waited
                self._leave(trial)
                self._driver.ended(trial.name, {"done": False})
                return True
            self.replay.take(demand, +1)
            self._begin(trial)
            return True
        return False

    def _begin(self, trial: _Trial) -> None:
        """Let a trial run: its clone reports at equal intervals, but not its end, which is the trial's."""
        began = trial.began = self.replay.makespan
        order, interval = self.replay.trials, trial.seconds[0] / max(1, len(trial.curve))
        for report in range(1, len(trial.curve)):
            heapq.heappush(self._events, _Event(began + report * interval, order, trial, report))
        heapq.heappush(self._events, _Event(began + sum(trial.seconds), order, trial, 0))

    def _ask(self) -> bool:
        """Ask for a trial, as many at once as a run allows."""
        alive = len(self._running) + sum(map(len, self._waiting.values()))
        if self._over or alive >= self._limit:
            return False
        self._asked += 1
        name = f"{self._asked}"
        answer = self._driver.suggest(name)
        owed = sum(proposer.take_owed() for proposer in self._proposers.values())
        if owed:
            self.replay.asks += owed
            self._hold_up(owed, ASKING)
        if not isinstance(answer, dict):
            self._over = answer == OVER
            return bool(owed)
        tasks = self._driver.trials[name]
        seconds, curve = [self._seconds(task) for task in tasks], self._model.curve(tasks[0])
        trial = _Trial(name, tasks, self._demands[tasks[0].stage], seconds, curve)
        self._waiting.setdefault(trial.demand, deque()).append(trial)
        return True

    def _take_in_news(self) -> None:
        """Let the driver take in every report and every end."""
        while self._news:
            event = self._news.popleft()
            if event.trial.stopped:
                continue
            if event.report and not event.trial.over:
                self._take_in_report(event.trial, event.report)
            elif not event.report:
                self._take_in_end(event.trial)
            self._stop_unwanted()

    def _take_in_report(self, trial: _Trial, report: int) -> None:
        rows, before = trial.rows(report), len(trial.rows(report - 1))
        best = {"best.validation.accuracy": trial.curve[report - 1]}
        result = {"task": trial.tasks[0].key, "metrics": best, "history": rows[before:]}
        if self._driver.hear(trial.name, result):
            self._stop(trial)

    def _take_in_end(self, trial: _Trial) -> None:
        self._leave(trial)
        for place, (task, seconds) in enumerate(zip(trial.tasks, trial.seconds, strict=True)):
            history = trial.rows(len(trial.curve)) if place == 0 else []
            self._store.finish(task, seconds, self._model.metrics(task), history)
            self.replay.tasks[task.stage] += 1
            self.replay.seconds[task.stage] += seconds
        self._driver.hear(trial.name, {"done": True, "busy": sum(trial.seconds)})
        self._driver.ended(trial.name, {"done": True})

    def _stop_unwanted(self) -> None:
        """Stop the trials that run only for points that were stopped."""
        stopped, self._writer.stopped = self._writer.stopped, []
        for number in stopped:
            for key in self._planner.point(self._ledger.points[number]).tasks:
                trial = self._running.get(key)
                if trial and not trial.over and self._driver.hear(trial.name, {}):
                    self._stop(trial)

    def _stop(self, trial: _Trial) -> None:
        trial.stopped = True
        for stage, seconds in self._elapsed(trial).items():
            self.replay.cut[stage] += seconds
        self.replay.take(trial.demand, -1)
        self._leave(trial)
        self._driver.ended(trial.name, {"done": False})

    def _leave(self, trial: _Trial) -> None:
        assert trial.placement is not None, "what ends has begun"
        del self._running[trial.tasks[0].key]
        self._cluster.free(trial.placement)

    def _seconds(self, task: Task) -> float:
        if task.stage == "surrogate":
            self._legs[task.key] = task
        return self._model.seconds(task, self._legs[task.continues] if task.continues else None)

    # --- the clock ----------------------------------------------------------------------------------------

    def _hold_up(self, seconds: float, reason: str) -> None:
        """Hold up the driver for some time."""
        self.replay.driver += seconds
        self._advance(self.replay.makespan + seconds, reason)

    def _advance(self, to: float, reason: str) -> None:
        """Let time pass; the driver takes in what trials report meanwhile, and their ends, when it is free."""
        while self._events and self._events[0].at <= to:
            event = heapq.heappop(self._events)
            if not event.trial.stopped:
                self.replay.pass_time(event.at, reason)
                if not event.report:
                    event.trial.over = True
                    self.replay.take(event.trial.demand, -1)
                self._news.append(event)
        self.replay.pass_time(to, reason)

    def _reason(self) -> str:
        """Explain why what is free stays free until a trial ends."""
        if any(self._waiting.values()):
            return NO_ROOM
        if not self._driver.points.foundations_done():
            return FOUNDATION
        return CHAIN if self._driver.points.in_full_swing else TAIL
