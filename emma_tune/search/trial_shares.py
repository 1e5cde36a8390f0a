"""What a trial takes of a node: as the study says, as a first task has shown, or more if that was not enough."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emma_tune.plan import Task
from emma_tune.stages import STAGES
from emma_tune.storage.store import Record
from emma_tune.study import AUTO

GIB = 2**30

MOST_TASKS_PER_GPU = 16
"""With more, tasks wait for each other's kernels rather than for memory."""

CONTEXT = GIB // 2
"""Bytes of a GPU that a process takes beside its tensors: CUDA's context and its libraries' code."""

HEADROOM = 1.25
"""How much more than one task's peak another of its kind may take: batches are cropped and cached differently."""

ROUNDING = 1e-6
"""Of a sum of shares."""

MemoryKind = tuple[str, str]
"""Tasks that need as much memory: their stage, and their training's settings as JSON where it has any."""


@dataclass(frozen=True)
class Capacity:
    """What a cluster offers to trials."""

    slots: int  # how many can run at once
    shares: Mapping[str, Mapping[str, float | str]]  # `cpu` and `gpu` by stage; `gpu` may be `auto`
    gpus: int  # of all nodes


class TrialShares:
    """Decides what each trial takes of a node, and learns from what its tasks took.

    Until a kind of task has been measured, a task of a stage with `gpu: auto` takes a whole GPU, and as many are
    handed out as there are GPUs: the others then take less.
    """

    def __init__(
        self,
        capacity: Capacity,
        earlier: Callable[[Collection[str]], Iterable[Record]],
        say: Callable[[str], None],
    ) -> None:
        self.capacity = capacity  # as it is now
        self._earlier = earlier
        self._say = say
        self._needs: dict[MemoryKind, float] = {}
        self._measuring: set[str] = set()
        self._recalled: set[str] = set()
        self.granted: dict[str, Mapping[str, float]] = {}  # `cpu` and `gpu` of the latest trial of each stage
        self._gpu_of_trial: dict[str, float] = {}
        self._enlarged: dict[str, float] = {}
        self._starved: dict[str, str] = {}

    def grant(self, trial: str, tasks: Sequence[Task]) -> Mapping[str, float] | None:
        """Grant a trial `cpu` and `gpu`; None if it is better to wait until a task of its kind is measured."""
        stage = tasks[0].stage
        given = self.capacity.shares[stage]
        if self._unmeasured(tasks):
            if len(self._measuring) >= max(1, self.capacity.gpus):
                return None
            self._measuring.add(trial)
            gpu = 1.0
        elif self._is_auto(stage):
            gpu = whole_part(max(self._needs[memory_kind(task.recipe)] for task in tasks))
        else:
            gpu = float(given["gpu"])
        gpu = max([gpu, *(self._enlarged.get(task.key, 0.0) for task in tasks)])
        self._gpu_of_trial[trial] = gpu
        self.granted[stage] = {"cpu": float(given["cpu"]), "gpu": gpu}
        return self.granted[stage]

    def end(self, trial: str) -> float:
        """End a trial, and return the share of a GPU it had."""
        self._measuring.discard(trial)
        return self._gpu_of_trial.pop(trial, 0.0)

    def has_room(self, stage: str) -> bool:
        """Tell whether enough of the GPUs is free for another trial of a stage, at the least share it may get."""
        gpu = self.capacity.shares[stage]["gpu"]
        least = 1 / MOST_TASKS_PER_GPU if gpu == AUTO else float(gpu)
        return not least or sum(self._gpu_of_trial.values()) + least <= self.capacity.gpus + ROUNDING

    def measure(self, stage: str, records: Iterable[Record]) -> None:
        """Learn how much memory the finished tasks of a trial took, if its first stage has `gpu: auto`."""
        if self._is_auto(stage):
            for record in records:
                self._measure(record)

    def out_of_memory(self, task: Task, share: float, sizes: str) -> str | None:
        """Explain why the points of a task that ran out of memory fail; None if it gets a larger share, once."""
        here = f"with {share:g} of a GPU: {sizes}"
        before = self._starved.get(task.key)
        if before is not None or not 0 < share < 1:
            again = f"; before, {before}" if before else ""
            return f"{task.stage}: out of memory {here}{again}"
        larger = min(1.0, 2 * share)
        self._starved[task.key] = here
        self._enlarged[task.key] = larger
        if self._is_auto(task.stage):
            kind = memory_kind(task.recipe)
            self._needs[kind] = max(larger, self._needs.get(kind, 0.0))
        self._say(f"{task.stage}: out of memory {here}; tried once more with {larger:g}")
        return None

    def _is_auto(self, stage: str) -> bool:
        return self.capacity.shares[stage]["gpu"] == AUTO

    def _unmeasured(self, tasks: Sequence[Task]) -> bool:
        """Tell whether a task of a trial is of a kind whose memory is not known, from earlier runs either."""
        if not self._is_auto(tasks[0].stage):
            return False
        unknown = {task.stage for task in tasks if memory_kind(task.recipe) not in self._needs}
        if wanted := unknown - self._recalled:
            self._recalled |= wanted
            for record in self._earlier(wanted):
                self._measure(record)
        return any(memory_kind(task.recipe) not in self._needs for task in tasks)

    def _measure(self, record: Record) -> None:
        peak, memory = record.provenance.get("peak_memory"), record.provenance.get("memory_capacity")
        if not peak or not memory:
            return
        kind, need = memory_kind(record.recipe), (HEADROOM * peak + CONTEXT) / memory
        if kind not in self._needs and STAGES[kind[0]].own_trial:
            many = round(1 / whole_part(need))
            tasks = "1 task" if many == 1 else f"{many} tasks"
            self._say(f"{kind[0]}: peak {in_gib(peak)} of {in_gib(memory)}, {tasks} to a GPU")
        self._needs[kind] = max(need, self._needs.get(kind, 0.0))


def memory_kind(recipe: Mapping[str, Any]) -> MemoryKind:
    """Name what tasks have in common that need as much memory: the stage, and the network and its training."""
    training = recipe["config"].get("training")
    return recipe["stage"], json.dumps(training, sort_keys=True) if training else ""


def whole_part(need: float) -> float:
    """Return the smallest 1/n of a GPU, n ≤ `MOST_TASKS_PER_GPU`, that covers a need; 1 for what needs more."""
    return 1 / min(MOST_TASKS_PER_GPU, max(1, int(1 / need)))


def in_gib(size: float) -> str:
    """Format a number of bytes."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def slots_of(shares: Collection[tuple[float, float | str]], cpus: float, gpus: float) -> int:
    """Count how many tasks of the smallest share run at once, at least one.

    Args:
        shares: CPUs and GPUs of a task of each stage; `auto` for a share of a GPU that is still to be measured.
        cpus: that there are.
        gpus: that there are.
    """
    slots = cpus / min(cpu for cpu, _ in shares)
    least = [1 / MOST_TASKS_PER_GPU if gpu == AUTO else float(gpu) for _, gpu in shares]
    if all(least):
        slots = min(slots, gpus / min(least))
    return max(1, int(slots))
