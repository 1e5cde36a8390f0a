"""A cluster that is only counted: which node and which GPU a trial gets, as Ray places it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emma_tune.study import AUTO, Study
from emma_tune.study.file import StudyError

UNIT = 10_000
"""Ray counts resources in ten-thousandths; so do we, in whole numbers, so that ten tenths are one."""


class Share(NamedTuple):
    """What a trial takes, in `UNIT`s of a CPU and of a GPU."""

    cpu: int
    gpu: int

    @staticmethod
    def of(share: Mapping[str, float]) -> Share:
        """From `cpu` and `gpu` as a study has them."""
        return Share(round(share["cpu"] * UNIT), round(share["gpu"] * UNIT))


def gpu_share(study: Study, stage: str) -> float:
    """The share of a GPU of a stage's trials; `auto` counts as a whole one, as long as nothing is measured."""
    gpu = study.share(stage).gpu
    return 1.0 if gpu == AUTO else float(gpu)


class Placed(NamedTuple):
    """Where a trial runs: its node and the GPUs of that node that it has a share of."""

    node: int
    gpus: tuple[int, ...]
    share: Share


class Cluster:
    """Nodes that are all alike.

    A trial lies on one node. A share of at most one GPU lies on one GPU: of those that have room for it, on the
    one with the least. Whole GPUs are taken where nobody else is. The first node with room is taken, so that
    others stay free for trials that need much.

    Args:
        nodes: how many.
        cpus: of each node.
        gpus: of each node.
    """

    def __init__(self, nodes: int, cpus: int, gpus: int) -> None:
        self.nodes = nodes
        self.cpus = cpus
        self.gpus = gpus
        self._cpu = [cpus * UNIT] * nodes
        self._gpu = [[UNIT] * gpus for _ in range(nodes)]
        self._first: dict[Share, int] = {}  # the first node that may have room; none before it has

    def place(self, share: Share) -> Placed | None:
        """Finds room for a trial and takes it; None if there is none now."""
        for node in range(self._first.get(share, 0), self.nodes):
            gpus = self._room(node, share)
            if gpus is not None:
                self._first[share] = node
                self._cpu[node] -= share.cpu
                for gpu in gpus:
                    self._gpu[node][gpu] -= min(share.gpu, UNIT)
                return Placed(node, gpus, share)
        self._first[share] = self.nodes
        return None

    def free(self, placed: Placed) -> None:
        """A trial has ended."""
        for share, first in self._first.items():
            self._first[share] = min(first, placed.node)
        self._cpu[placed.node] += placed.share.cpu
        for gpu in placed.gpus:
            self._gpu[placed.node][gpu] += min(placed.share.gpu, UNIT)

    def _room(self, node: int, share: Share) -> tuple[int, ...] | None:
        """The GPUs of a node that a trial would get; None if the node has no room."""
        if self._cpu[node] < share.cpu:
            return None
        if not share.gpu:
            return ()
        room = self._gpu[node]
        if share.gpu <= UNIT:
            fitting = [gpu for gpu, left in enumerate(room) if left >= share.gpu]
            return (min(fitting, key=room.__getitem__),) if fitting else None
        free = [gpu for gpu, left in enumerate(room) if left == UNIT]
        count = share.gpu // UNIT
        return tuple(free[:count]) if len(free) >= count else None

    def slots(self, shares: Mapping[str, Mapping[str, float]]) -> int:
        """How many trials can run at once, as a run reckons it.

        Args:
            shares: `cpu` and `gpu` of the trials of each stage.

        Raises:
            StudyError: if no node could ever run one of them.
        """
        for stage, share in shares.items():
            if share["cpu"] > self.cpus or share["gpu"] > self.gpus:
                raise StudyError(
                    f"resources.{stage}: expected at most what a node has, {self.cpus} CPUs and {self.gpus} GPUs, "
                    f"found cpu {share['cpu']:g}, gpu {share['gpu']:g}"
                )
        slots = self.nodes * self.cpus / min(share["cpu"] for share in shares.values())
        if all(share["gpu"] for share in shares.values()):
            slots = min(slots, self.nodes * self.gpus / min(share["gpu"] for share in shares.values()))
        return max(1, int(slots))
