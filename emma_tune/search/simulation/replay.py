"""The course of a simulated run: what was in use, what waited and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from emma_tune.search.simulation.cluster import UNIT, Demand

FOUNDATION = "victims and surrogates, which every point needs, are not finished"
CHAIN = "open points wait for their own earlier stages, and no more points may be open at once"
NO_ROOM = "what is ready finds no node with that much CPU and GPU free"
STARTING = "the driver starts one trial after the other"
ASKING = "the driver waits for the sampler"
TAIL = "the last points: nothing is left to propose"


@dataclass
class Replay:
    """The course of a simulated run. Times in seconds, from the driver's first move."""

    slots: int  # how many trials can run at once, as a run computes it
    unit: str  # `gpu` or `cpu`: the resource whose idle time is counted
    capacity: Mapping[str, int]  # of each resource
    makespan: float = 0.0  # when the last trial ended; before, the time now
    trials: int = 0  # how many were started
    points: Counter[str] = field(default_factory=Counter)  # how they ended: finished, or why stopped
    tasks: Counter[str] = field(default_factory=Counter)  # finished ones, by stage
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of those, by stage
    cut: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of tasks that were stopped
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
