"""One study on a simulated clock: the real planner, searcher, agenda, conclusions and sampler; nothing that runs.

The driver does one thing at a time, as Ray Tune's does: it hears of a trial that has ended, asks for a trial, or
starts one. A start holds it up for a while, and so does a proposal; what is free meanwhile waits. Ends are heard
at once when it is idle. A trial takes as long as its tasks together.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emma_tune.models import NONE
from emma_tune.plan import Planner, Point, PointPlan, Task, weights_name
from emma_tune.results.ledger import Ledger, Outcome
from emma_tune.search.driver import OVER, StudyDriver
from emma_tune.search.simulation.cluster import UNIT, Cluster, Placed, Share, gpu_share
from emma_tune.search.simulation.invented import Invented
from emma_tune.search.simulation.proposing import TimedProposer
from emma_tune.search.simulation.times import Times
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.storage import Place
from emma_tune.storage.store import Record
from emma_tune.study import Study

FOUNDATION = "victims, or what else all points stand on, are not finished"
CHAIN = "open points wait for their own earlier stages, and no more points may be open at once"
NO_ROOM = "what is ready finds no node with that much CPU and GPU free"
STARTING = "the driver starts one trial after the other"
ASKING = "the driver waits for the sampler"
TAIL = "the last points: nothing is left to propose"

UNKNOWN = "unknown"
"""Stands for the fingerprints of images and weights, which a simulation does not look at."""


@dataclass
class Replay:
    """What came of a simulated run. Times in seconds, from the driver's first move.

    Attributes:
        makespan: when the last trial ended.
        slots: how many trials can run at once, as a run reckons it.
        trials: how many were started.
        points: how points ended: finished, dominated.
        tasks: finished tasks by stage.
        seconds: of those, by stage.
        unit: `gpu` or `cpu`: what idle time is reckoned in.
        capacity: of each resource.
        busy: seconds of each resource that trials had it.
        idle: seconds of `unit` that nobody had it, by the reason; together with `busy` they are all there was.
        changes: when so much of each resource was taken: (time, CPUs, GPUs).
        driver: seconds that starts and asks held the driver up.
        asks: of those, for the sampler.
        sampled: points that the study's own sampler has proposed.
        slowest_ask: seconds that one of its asks really took at most.
    """

    makespan: float = 0.0
    slots: int = 0
    trials: int = 0
    points: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unit: str = "cpu"
    capacity: dict[str, int] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=lambda: {"cpu": 0.0, "gpu": 0.0})
    idle: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    changes: list[tuple[float, float, float]] = field(default_factory=list)
    driver: float = 0.0
    asks: float = 0.0
    sampled: int = 0
    slowest_ask: float = 0.0

    def utilization(self, resource: str) -> float:
        """The share of a resource's time that trials had it, in [0, 1]; 0 where there is none."""
        whole = self.capacity[resource] * self.makespan
        return self.busy[resource] / whole if whole else 0.0


class _Planner(Planner):
    """Remembers what it planned: a point that is left is asked for again."""

    def __init__(self, study: Study, images: Mapping[str, str], weights: Mapping[str, str]) -> None:
        super().__init__(study, images, weights)
        self.planned: dict[int, PointPlan] = {}

    def point(self, point: Point) -> PointPlan:
        return self.planned.setdefault(point.number, super().point(point))


class _Memory:
    """A store that remembers which tasks are done, and what is invented for them."""

    def to_json(self) -> str:
        return "{}"  # for workers, of which there are none

    def __init__(self, invented: Invented) -> None:
        self._invented = invented
        self._records: dict[str, Record] = {}

    def finish(self, task: Task, seconds: float, epochs: int) -> None:
        made = {"run": "simulated", "seconds": seconds}
        self._records[task.key] = Record({}, self._invented.metrics(task), [{}] * epochs, made)

    def check(self, stage: str, key: str) -> bool:
        return key in self._records

    def has(self, stage: str, key: str) -> bool:
        return key in self._records

    def record(self, stage: str, key: str) -> Record | None:
        return self._records.get(key)

    def set_aside(self, stage: str, key: str) -> Place | None:
        raise AssertionError("nothing is corrupt in memory")

    def drop_state(self, key: str) -> None:
        """There is none."""


class _Notes:
    """A ledger's writer that writes nothing, and remembers which points were left."""

    def __init__(self) -> None:
        self.left: list[int] = []

    def asked(self, point: Point, sampler: Mapping[str, Any]) -> None:
        """The searcher keeps the ledger itself."""

    def concluded(self, number: int, outcome: Outcome) -> None:
        if outcome.bounds is not None:
            self.left.append(number)

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        raise AssertionError("nothing fails in a simulation")

    def attacked(self, number: int, verdict: Outcome) -> None:
        """Nothing reads it."""


@dataclass(eq=False)
class _Trial:
    """A trial that is asked for, and perhaps runs."""

    name: str
    tasks: list[Task]
    share: Share
    seconds: list[float]
    placed: Placed | None = None
    stopped: bool = False


class Simulation:
    """Runs one study on a cluster that is only counted.

    Args:
        study: the study; nothing of it counts as done.
        cluster: where.
        times: of its tasks.
        start_seconds: that the driver needs to start a trial.

    Raises:
        StudyError: if a task finds no room on any node, or nothing is known of how long a stage takes.
    """

    def __init__(self, study: Study, cluster: Cluster, times: Times, start_seconds: float) -> None:
        parts = (study.victim, study.surrogate, *study.attackers.values())
        weights = {weights_name(part): UNKNOWN for part in parts if part.weights != NONE}
        self._planner = _Planner(study, {"victim": UNKNOWN, "queries": UNKNOWN}, weights)
        self._cluster, self._times, self._start_seconds = cluster, times, start_seconds
        own = {stage: study.share(stage) for stage in OWN_TRIAL_STAGES}
        shares = {
            stage: {"cpu": share.cpu, "gpu": gpu_share(study, stage) if cluster.gpus else 0.0}
            for stage, share in own.items()
        }
        slots = cluster.slots(shares)
        self._shares = {stage: Share.of(share) for stage, share in shares.items()}
        self._store, self._notes, self._ledger = _Memory(Invented(study)), _Notes(), Ledger()
        self._proposers = {defense: TimedProposer(study, defense) for defense in study.sought}
        self._driver = StudyDriver(
            planner=self._planner,
            store=self._store,
            ledger=self._ledger,
            writer=self._notes,
            proposers=self._proposers,
            run="simulated",
            slots=slots,
            shares={stage: shares.get(stage, shares["attacker"]) for stage in STAGES},
            say=lambda line: None,
        )
        self._legs: dict[str, Task] = {}
        self._waiting: dict[Share, deque[_Trial]] = {}
        self._running: dict[str, _Trial] = {}  # by the key of the first task
        self._ends: list[tuple[float, int, _Trial]] = []
        self._ended: deque[_Trial] = deque()
        self._now, self._over, self._asked, self._limit = 0.0, False, 0, slots + 1
        self._taken = {"cpu": 0, "gpu": 0}
        capacity = {"cpu": cluster.nodes * cluster.cpus, "gpu": cluster.nodes * cluster.gpus}
        unit = "gpu" if any(share.gpu for share in self._shares.values()) else "cpu"
        self.replay = Replay(slots=slots, unit=unit, capacity=capacity)

    def run(self) -> Replay:
        """To the end of the study."""
        while True:
            self._hear()
            while self._ends and self._ends[0][2].stopped:
                heapq.heappop(self._ends)
            if self._start() or self._ask():
                continue
            if not self._ends:
                break
            self._advance(self._ends[0][0], self._reason())
        assert self._over, "expected a study whose every point is settled, found nothing left to run"
        replay, conclusions = self.replay, self._driver.conclusions
        replay.makespan = self._now
        replay.points.update(finished=conclusions.finished, dominated=conclusions.dominated)
        replay.sampled = sum(proposer.real for proposer in self._proposers.values())
        replay.slowest_ask = max((proposer.slowest for proposer in self._proposers.values()), default=0.0)
        return replay

    # --- the driver's moves -------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Starts a trial that there is room for."""
        for share, line in self._waiting.items():
            placed = self._cluster.place(share) if line else None
            if placed is None:
                continue
            trial = line.popleft()
            trial.placed = placed
            self._busy(self._start_seconds, STARTING)
            self.replay.trials += 1
            self._running[trial.tasks[0].key] = trial
            if self._driver.hear(trial.name, {}):  # its point was left while it waited
                self._leave(trial)
                self._driver.ended(trial.name, {"done": False})
                return True
            self._take(share, +1)
            heapq.heappush(self._ends, (self._now + sum(trial.seconds), self.replay.trials, trial))
            return True
        return False

    def _ask(self) -> bool:
        """Asks for a trial, as many at once as a run allows."""
        alive = len(self._running) + sum(map(len, self._waiting.values()))
        if self._over or alive >= self._limit:
            return False
        self._asked += 1
        name = f"{self._asked}"
        answer = self._driver.suggest(name)
        owed = sum(proposer.take_owed() for proposer in self._proposers.values())
        if owed:
            self.replay.asks += owed
            self._busy(owed, ASKING)
        if not isinstance(answer, dict):
            self._over = answer == OVER
            return bool(owed)
        tasks = self._driver.trials[name]
        trial = _Trial(name, tasks, self._shares[tasks[0].stage], [self._seconds(task) for task in tasks])
        self._waiting.setdefault(trial.share, deque()).append(trial)
        return True

    def _hear(self) -> None:
        """Hears of every trial that has ended."""
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
        """Of points that were left nothing runs on."""
        left, self._notes.left = self._notes.left, []
        for number in left:
            for key in self._planner.planned[number].tasks:
                trial = self._running.get(key)
                if trial and trial not in self._ended and self._driver.hear(trial.name, {}):
                    trial.stopped = True
                    self._take(trial.share, -1)
                    self._leave(trial)
                    self._driver.ended(trial.name, {"done": False})

    def _leave(self, trial: _Trial) -> None:
        assert trial.placed is not None, "what ends has begun"
        del self._running[trial.tasks[0].key]
        self._cluster.free(trial.placed)

    def _seconds(self, task: Task) -> float:
        if task.stage == "surrogate":
            self._legs[task.key] = task
        return self._times.of(task, self._legs[task.continues] if task.continues else None)

    # --- the clock ----------------------------------------------------------------------------------------

    def _busy(self, seconds: float, reason: str) -> None:
        """The driver is held up."""
        self.replay.driver += seconds
        self._advance(self._now + seconds, reason)

    def _advance(self, to: float, reason: str) -> None:
        """Time passes; trials end meanwhile, which the driver hears of when it is free."""
        while self._ends and self._ends[0][0] <= to:
            at, _, trial = heapq.heappop(self._ends)
            if not trial.stopped:
                self._pass(at, reason)
                self._take(trial.share, -1)
                self._ended.append(trial)
        self._pass(to, reason)

    def _pass(self, to: float, reason: str) -> None:
        span = to - self._now
        if span > 0:
            for resource, taken in self._taken.items():
                self.replay.busy[resource] += span * taken / UNIT
            unit = self.replay.unit
            self.replay.idle[reason] += span * (self.replay.capacity[unit] - self._taken[unit] / UNIT)
            self._now = to

    def _take(self, share: Share, sign: int) -> None:
        self._taken["cpu"] += sign * share.cpu
        self._taken["gpu"] += sign * share.gpu
        self.replay.changes.append((self._now, self._taken["cpu"] / UNIT, self._taken["gpu"] / UNIT))

    def _reason(self) -> str:
        """Why what is free stays free until a trial ends."""
        if any(self._waiting.values()):
            return NO_ROOM
        planner = self._planner
        laid = (planner.foundation(seed) for seed in planner.study.seeds)
        if not all(self._driver.agenda.is_done(task) for tasks in laid for task in tasks):
            return FOUNDATION
        return TAIL if self._driver.wanted == len(self._ledger.points) else CHAIN
