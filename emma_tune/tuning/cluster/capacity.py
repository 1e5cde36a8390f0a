"""What a cluster has for trials, from its first nodes to those that join late and those that are taken away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from emma_tune.search.driver import StudyDriver
from emma_tune.search.trial_shares import Capacity, slots_of
from emma_tune.stages import OWN_TRIAL_STAGES, STAGES
from emma_tune.study import Share, Study
from emma_tune.tuning.cluster.limits import check_shares
from emma_tune.tuning.cluster.nodes import alive_nodes, node_label
from emma_tune.tuning.ray_patches import NeverPickled

NODE_CHECK_INTERVAL = 5.0
"""Seconds between checks for nodes that came or went."""


@dataclass(frozen=True)
class ClusterCapacity(Capacity):
    """What a cluster has for trials."""

    cpus: float  # of all nodes
    nodes: Mapping[str, str]  # their names for people, by id

    def part(self, cpu: float, gpu: float) -> float:
        """Return the part of the cluster that a trial takes, in (0, 1]: of CPUs or GPUs, the larger one."""
        return min(1.0, max(cpu / self.cpus, gpu / self.gpus if self.gpus else 0.0))


def capacity_for(study: Study, *, had_gpus: bool = False) -> ClusterCapacity:
    """Measure what the cluster has now for a study; if it `had_gpus`, trials that want one wait for the next."""
    nodes = alive_nodes()
    cpus, gpus = (sum(node["Resources"].get(kind, 0.0) for node in nodes.values()) for kind in ("CPU", "GPU"))
    shares = {
        stage: (share.cpu, share.gpu if gpus or had_gpus else 0.0) for stage, share in _requested(study).items()
    }
    slots = slots_of([shares[stage] for stage in OWN_TRIAL_STAGES], cpus, gpus)
    labels = {name: node_label(node) for name, node in nodes.items()}
    by_stage = {stage: {"cpu": cpu, "gpu": gpu} for stage, (cpu, gpu) in shares.items()}
    return ClusterCapacity(slots, by_stage, int(gpus), cpus, labels)


def check_capacity(study: Study, capacity: ClusterCapacity, say: Callable[[str], None]) -> None:
    """Check that every stage fits on some node.

    Raises:
        StudyError: naming one that does not.
    """
    if capacity.gpus == 0 and any(share.gpu for share in _requested(study).values()):
        say("no GPU here: gpu shares are ignored")
    check_shares(study, capacity, [node["Resources"] for node in alive_nodes().values()])


def _requested(study: Study) -> dict[str, Share]:
    return {stage: study.share(stage) for stage in STAGES}


class CapacityWatcher(NeverPickled, Callback):
    """Tells the driver how many trials can run, as nodes come and go."""

    def __init__(
        self, study: Study, driver: StudyDriver, capacity: ClusterCapacity, say: Callable[[str], None]
    ) -> None:
        self._study = study
        self._driver = driver
        self.now = capacity  # at the last check
        self._say = say
        self._had_gpus = False
        self._checked_at = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Check when it is time."""
        if time.monotonic() - self._checked_at < NODE_CHECK_INTERVAL:
            return
        self._checked_at = time.monotonic()
        before = self.now
        self._had_gpus = self._had_gpus or before.gpus > 0
        self.now = capacity_for(self._study, had_gpus=self._had_gpus)
        lost = [label for node, label in before.nodes.items() if node not in self.now.nodes]
        if lost or len(self.now.nodes) != len(before.nodes):
            counts = f"nodes: {len(self.now.nodes)}, before {len(before.nodes)}; {self.now.slots} trials at once"
            self._say(f"{counts}; lost: {', '.join(lost)}" if lost else counts)
        self._driver.resize(self.now)
