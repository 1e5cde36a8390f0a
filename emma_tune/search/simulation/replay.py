"""One study on a simulated clock: the real planner, driver and sampler; nothing that runs.

The driver does one thing at a time, as Ray Tune's does: it takes in the end of a trial, asks for a trial, or
starts one. A start holds it up for a while, and so does a proposal; what is free meanwhile waits. When it is idle,
it takes in ends at once. A trial takes as long as its tasks together.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emma_tune.plan import GIVEN, Planner, Task
from emma_tune.plan.materials.networks import initial_weights
from emma_tune.results.ledger import Ledger, LedgerWriter
from emma_tune.search.driver import OVER, new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.simulation.cluster import UNIT, Cluster, Demand, Placement
from emma_tune.search.simulation.invented import Invented
from emma_tune.search.simulation.times import TimedProposer, Times
from emma_tune.search.trial_shares import Capacity, slots_of
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.storage.store import Record, Store
from emma_tune.study import Study

FOUNDATION = "victims and surrogates, which every point needs, are not finished"
CHAIN = "open points wait for their own earlier stages, and no more points may be open at once"
NO_ROOM = "what is ready finds no node with that much CPU and GPU free"
STARTING = "the driver starts one trial after the other"
ASKING = "the driver waits for the sampler"
TAIL = "the last points: nothing is left to propose"

UNREAD = "unread"
"""Stands for the fingerprints of images and weights, which a simulation does not look at."""


@dataclass
class Replay:
    """The course of a simulated run. Times in seconds, from the driver's first move."""

    slots: int  # how many trials can run at once, as a run computes it
    unit: str  # `gpu` or `cpu`: the resource whose idle time is counted
    capacity: Mapping[str, int]  # of each resource
    makespan: float = 0.0  # when the last trial ended; before, the time now
    trials: int = 0  # how many were started
    points: Counter[str] = field(default_factory=Counter)  # how they ended: finished, dominated
    tasks: Counter[str] = field(default_factory=Counter)  # finished ones, by stage
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of those, by stage
    taken: dict[str, int] = field(default_factory=lambda: {"cpu": 0, "gpu": 0})  # at the moment, in `UNIT`s
    # seconds of each resource that trials had it, and seconds of `unit` that no trial had it, by the reason:
    # together they are all there was
    busy: dict[str, float] = field(default_factory=lambda: {"cpu": 0.0, "gpu": 0.0})
    idle: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    changes: list[tuple[float, float, float]] = field(
        default_factory=list
    )  # time, CPUs and GPUs taken from then on
    driver: float = 0.0  # seconds that starts and asks held it up
    asks: float = 0.0  # of those, for the sampler
    sampled: int = 0  # points that the study's own sampler has proposed
    slowest_ask: float = 0.0  # seconds that one of its asks really took at most

    def utilization(self, resource: str) -> float:
        """Return the share of a resource's time that trials had it, in [0, 1]; 0 where there is none."""
        whole = self.capacity[resource] * self.makespan
        return self.busy[resource] / whole if whole else 0.0

    def pass_time(self, to: float, reason: str) -> None:
        """Let time pass, in which what is idle is so for a reason."""
        span = to - self.makespan
        if span > 0:
            for resource, taken in self.taken.items():
                self.busy[resource] += span * taken / UNIT
            self.idle[reason] += span * (self.capacity[self.unit] - self.taken[self.unit] / UNIT)
            self.makespan = to

    def take(self, demand: Demand, sign: int) -> None:
        """Take what a trial needs, or give it back with sign −1."""
        self.taken["cpu"] += sign * demand.cpu
        self.taken["gpu"] += sign * demand.gpu
        self.changes.append((self.makespan, self.taken["cpu"] / UNIT, self.taken["gpu"] / UNIT))


class _MemoryStore(Store):
    """A store that keeps in memory which tasks are done, with invented metrics."""

    def __init__(self, invented: Invented) -> None:
        super().__init__(Path())
        self._invented = invented
        self._records: dict[str, Record] = {}

    def finish(self, task: Task, seconds: float, epochs: int) -> None:
        made = {"run": "simulated", "seconds": seconds}
        self._records[task.key] = Record({}, self._invented.metrics(task), [{}] * epochs, made)

    def check(self, stage: str, key: str) -> bool:
        return key in self._records

    has = check

    def record(self, stage: str, key: str) -> Record | None:
        return self._records.get(key)

    def drop_state(self, key: str) -> None:
        """There is none."""


class _MemoryLedger(LedgerWriter):
    """Writes nothing; keeps the numbers of points that were stopped."""

    def __init__(self) -> None:
        self.stopped: list[int] = []

    def _append(self, event: Mapping[str, Any]) -> None:
        assert event["event"] != "failed", "nothing fails in a simulation"
        if event["event"] == "dominated":
            self.stopped.append(event["point"])


@dataclass(eq=False)
class _Trial:
    """A trial that is asked for, and perhaps runs."""

    name: str
    tasks: list[Task]
    demand: Demand
    seconds: list[float]
    placement: Placement | None = None
    stopped: bool = False


class Simulation:
    """Runs one study on a simulated cluster; nothing of it counts as done.

    Raises:
        StudyError: if a task finds no room on any node, or nothing is known of how long a stage takes.
    """

    def __init__(self, study: Study, cluster: Cluster, times: Times, start_seconds: float) -> None:
        weights = dict.fromkeys([*initial_weights(study), GIVEN], UNREAD)
        self._planner = Planner(study, dict.fromkeys(study.image_sets, UNREAD), weights)
        self._cluster, self._times, self._start_seconds = cluster, times, start_seconds
        shares = {stage: cluster.share(study, stage) for stage in STAGES}
        capacity = {"cpu": cluster.nodes * cluster.cpus, "gpu": cluster.nodes * cluster.gpus}
        slots = slots_of([shares[stage] for stage in OWN_TRIAL_STAGES], capacity["cpu"], capacity["gpu"])
        self._demands = {stage: Demand.of(*share) for stage, share in shares.items()}
        self._store, self._writer, self._ledger = _MemoryStore(Invented(study)), _MemoryLedger(), Ledger()
        self._proposers = {defense: TimedProposer(study, defense) for defense in study.searches}
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
        self._ends: list[tuple[float, int, _Trial]] = []
        self._ended: deque[_Trial] = deque()
        self._over, self._asked, self._limit = False, 0, slots + 1
        unit = "gpu" if any(demand.gpu for demand in self._demands.values()) else "cpu"
        self.replay = Replay(slots, unit, capacity)

    def run(self) -> Replay:
        """Replay the study to its end."""
        while True:
            self._take_in_ends()
            while self._ends and self._ends[0][2].stopped:
                heapq.heappop(self._ends)
            if self._start() or self._ask():
                continue
            if not self._ends:
                break
            self._advance(self._ends[0][0], self._reason())
        assert self._over, "nothing is left to run, so every point is closed"
        replay, outcomes = self.replay, self._driver.outcomes
        replay.points.update(finished=outcomes.finished, dominated=outcomes.dominated)
        replay.sampled = sum(proposer.real for proposer in self._proposers.values())
        replay.slowest_ask = max((proposer.slowest for proposer in self._proposers.values()), default=0.0)
        return replay

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
            heapq.heappush(self._ends, (self.replay.makespan + sum(trial.seconds), self.replay.trials, trial))
            return True
        return False

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
        trial = _Trial(name, tasks, self._demands[tasks[0].stage], [self._seconds(task) for task in tasks])
        self._waiting.setdefault(trial.demand, deque()).append(trial)
        return True

    def _take_in_ends(self) -> None:
        """Let the driver take in every trial that has ended."""
        while self._ended:
            trial = self._ended.popleft()
            self._leave(trial)
            for task, seconds in zip(trial.tasks, trial.seconds, strict=True):
                self._store.finish(task, seconds, getattr(getattr(task.config, "training", None), "epochs", 0))
                self.replay.tasks[task.stage] += 1
                self.replay.seconds[task.stage] += seconds
            self._driver.hear(trial.name, {"done": True, "busy": sum(trial.seconds)})
            self._driver.ended(trial.name, {"done": True})
            self._stop_unwanted()

    def _stop_unwanted(self) -> None:
        """Stop the trials that run only for points that were stopped."""
        stopped, self._writer.stopped = self._writer.stopped, []
        for number in stopped:
            for key in self._planner.point(self._ledger.points[number]).tasks:
                trial = self._running.get(key)
                if trial and trial not in self._ended and self._driver.hear(trial.name, {}):
                    trial.stopped = True
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
        return self._times.of(task, self._legs[task.continues] if task.continues else None)

    # --- the clock ----------------------------------------------------------------------------------------

    def _hold_up(self, seconds: float, reason: str) -> None:
        """Hold up the driver for some time."""
        self.replay.driver += seconds
        self._advance(self.replay.makespan + seconds, reason)

    def _advance(self, to: float, reason: str) -> None:
        """Let time pass; the driver takes in the trials that end meanwhile when it is free."""
        while self._ends and self._ends[0][0] <= to:
            at, _, trial = heapq.heappop(self._ends)
            if not trial.stopped:
                self.replay.pass_time(at, reason)
                self.replay.take(trial.demand, -1)
                self._ended.append(trial)
        self.replay.pass_time(to, reason)

    def _reason(self) -> str:
        """Explain why what is free stays free until a trial ends."""
        if any(self._waiting.values()):
            return NO_ROOM
        if not self._driver.points.foundations_done():
            return FOUNDATION
        return CHAIN if self._driver.points.in_full_swing else TAIL
