"""What a cluster has for trials, from its first node to those that join late and those that are taken away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from emma_tune.plan.slots import slots_of
from emma_tune.search.driver import StudyDriver
from emma_tune.search.trial_shares import Capacity
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.study import AUTO, Share, Study
from emma_tune.study.file import StudyError

LOOK_EVERY = 5.0
"""Seconds between two looks at the nodes."""


@dataclass(frozen=True)
class Room(Capacity):
    """What a cluster offers to trials, as it is now.

    Attributes:
        cpus: of all nodes.
        nodes: how many.
    """

    cpus: float
    nodes: int

    def part(self, cpu: float, gpu: float) -> float:
        """The part of the cluster that a trial takes, in (0, 1]: of what there is less of."""
        return min(1.0, max(cpu / self.cpus, gpu / self.gpus if self.gpus else 0.0))


def room_of(study: Study, *, had_gpus: bool = False) -> Room:
    """What each stage's trials take on the cluster as it is now, and how many can run at once.

    Args:
        study: the study.
        had_gpus: whether there have been GPUs in this run: then what wants one waits for the next.
    """
    nodes = _nodes()
    total = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    shares = {
        stage: (share.cpu, share.gpu if total["GPU"] or had_gpus else 0.0)
        for stage, share in _wanted(study).items()
    }
    slots = slots_of([shares[stage] for stage in OWN_TRIAL_STAGES], total["CPU"], total["GPU"])
    named = {stage: {"cpu": cpu, "gpu": gpu} for stage, (cpu, gpu) in shares.items()}
    return Room(slots, named, int(total["GPU"]), total["CPU"], len(nodes))


def check_room(study: Study, room: Room, say: Callable[[str], None]) -> None:
    """That every stage fits on some node.

    Raises:
        StudyError: naming one that does not.
    """
    if room.gpus == 0 and any(share.gpu for share in _wanted(study).values()):
        say("no GPU here: gpu shares are ignored")
    nodes = _nodes()
    for stage, share in room.shares.items():
        cpu, gpu = float(share["cpu"]), share["gpu"]
        whole = 1.0 if gpu == AUTO else float(gpu)  # until it has been measured
        if not any(node.get("CPU", 0) >= cpu and node.get("GPU", 0) >= whole for node in nodes):
            largest = max(node.get("CPU", 0) for node in nodes), max(node.get("GPU", 0) for node in nodes)
            raise StudyError(
                f"resources.{stage}: expected at most what a node has, {largest[0]:g} CPUs and "
                f"{largest[1]:g} GPUs, found cpu {cpu:g}, gpu {gpu if gpu == AUTO else format(gpu, 'g')}"
            )


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _wanted(study: Study) -> dict[str, Share]:
    return {stage: study.share(stage) for stage in STAGES}


class Nodes(Callback):
    """Tells the searcher how many trials can run, as nodes come and go.

    Args:
        study: the study.
        searcher: of the run.
        room: as it was when the run began.
        say: tells the user something worth a line.

    Attributes:
        room: as it is now.
    """

    def __init__(self, study: Study, driver: StudyDriver, room: Room, say: Callable[[str], None]) -> None:
        self._study = study
        self._driver = driver
        self.room = room
        self._say = say
        self._had_gpus = False
        self._looked_at = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Looks now and then."""
        if time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = time.monotonic()
        self._had_gpus = self._had_gpus or self.room.gpus > 0
        room = room_of(self._study, had_gpus=self._had_gpus)
        if room.nodes != self.room.nodes:
            self._say(f"nodes: {room.nodes}, before {self.room.nodes}; {room.slots} trials at once")
        self._driver.resize(room)
        self.room = room
