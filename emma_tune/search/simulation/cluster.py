"""A simulated cluster: which node and which GPU a trial gets, as Ray places it."""

from __future__ import annotations

from typing import NamedTuple

from emma_tune.study import AUTO, Study
from emma_tune.study.file import StudyError

UNIT = 10_000
"""Ray counts resources in ten-thousandths; so do we, in whole numbers, so that ten tenths are one."""


class Demand(NamedTuple):
    """What a trial takes, in `UNIT`s of a CPU and of a GPU."""

    cpu: int
    gpu: int

    @staticmethod
    def of(cpu: float, gpu: float) -> Demand:
        """Convert CPUs and GPUs as a study has them."""
        return Demand(round(cpu * UNIT), round(gpu * UNIT))


class Placement(NamedTuple):
    """Where a trial runs: its node and the GPUs of that node that it has a share of."""

    node: int
    gpus: tuple[int, ...]
    demand: Demand


class Cluster:
    """Identical nodes.

    A trial runs on one node. A share of at most one GPU lies on one GPU: of those that have room for it, on the
    one with the least. Whole GPUs are taken where nothing else runs. The first node with room is taken, so that
    others stay free for trials that need much. `cpus` and `gpus` are those of each node.
    """

    def __init__(self, nodes: int, cpus: int, gpus: int) -> None:
        self.nodes = nodes
        self.cpus = cpus
        self.gpus = gpus
        self._cpu = [cpus * UNIT] * nodes
        self._gpu = [[UNIT] * gpus for _ in range(nodes)]
        self._first: dict[Demand, int] = {}  # the first node that may have room; none before it has

    def place(self, demand: Demand) -> Placement | None:
        """Find room for a trial and take it; None if there is none now."""
        for node in range(self._first.get(demand, 0), self.nodes):
            gpus = self._room(node, demand)
            if gpus is not None:
                self._first[demand] = node
                self._cpu[node] -= demand.cpu
                for gpu in gpus:
                    self._gpu[node][gpu] -= min(demand.gpu, UNIT)
                return Placement(node, gpus, demand)
        self._first[demand] = self.nodes
        return None

    def free(self, placed: Placement) -> None:
        """Free what a trial had."""
        for demand, first in self._first.items():
            self._first[demand] = min(first, placed.node)
        self._cpu[placed.node] += placed.demand.cpu
        for gpu in placed.gpus:
            self._gpu[placed.node][gpu] += min(placed.demand.gpu, UNIT)

    def _room(self, node: int, demand: Demand) -> tuple[int, ...] | None:
        """Find the GPUs of a node that a trial would get; None if the node has no room."""
        if self._cpu[node] < demand.cpu:
            return None
        if not demand.gpu:
            return ()
        room = self._gpu[node]
        if demand.gpu <= UNIT:
            fitting = [gpu for gpu, left in enumerate(room) if left >= demand.gpu]
            return (min(fitting, key=room.__getitem__),) if fitting else None
        free = [gpu for gpu, left in enumerate(room) if left == UNIT]
        count = demand.gpu // UNIT
        return tuple(free[:count]) if len(free) >= count else None

    def share(self, study: Study, stage: str) -> tuple[float, float]:
        """Return the CPUs and GPUs of a stage's trials here; `gpu: auto` counts as a whole one.

        Raises:
            StudyError: if no node could ever run one of them.
        """
        share = study.share(stage)
        gpu = 0.0 if not self.gpus else 1.0 if share.gpu == AUTO else float(share.gpu)
        if share.cpu > self.cpus or gpu > self.gpus:
            raise StudyError(
                f"resources.{study.shares_with(stage)}: expected at most what a node has, {self.cpus} CPUs "
                f"and {self.gpus} GPUs, found cpu {share.cpu:g}, gpu {gpu:g}"
            )
        return share.cpu, gpu
