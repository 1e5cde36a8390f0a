"""What each trial takes of a node: as the study says, as a first task has shown, more after it was not enough."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emma_tune.plan import Task
from emma_tune.plan.slots import MOST
from emma_tune.stages import STAGES
from emma_tune.study import AUTO

GIB = 2**30

CONTEXT = GIB // 2
"""Bytes of a GPU that a process takes beside its tensors: CUDA's context and its libraries' code."""

HEADROOM = 1.25
"""How much more than the peak of one task its like may take: batches are cropped and cached differently."""

Kind = tuple[str, str]
"""Tasks that need as much memory: their stage, and their training's settings as JSON where it has any."""


class Shares:
    """Says what a trial takes, and learns from what its tasks took.

    Until a kind of task has been measured, one of a stage with `gpu: auto` takes a whole GPU, and no more of them
    are handed out than there are GPUs: the others then take less.

    Args:
        given: `cpu` and `gpu` by stage; `gpu` may be `auto`.
        say: tells the user something worth a line.
        gpus: of all nodes.
    """

    def __init__(
        self, given: Mapping[str, Mapping[str, float | str]], say: Callable[[str], None], gpus: int
    ) -> None:
        self._given = given
        self._say = say
        self._gpus = max(1, gpus)
        self._needs: dict[Kind, float] = {}
        self._measuring: set[str] = set()
        self._granted: dict[str, float] = {}
        self._enlarged: dict[str, float] = {}
        self._starved: dict[str, str] = {}

    def resize(self, gpus: int, given: Mapping[str, Mapping[str, float | str]]) -> None:
        """Nodes have come or gone: so many GPUs; the first one changes what is given."""
        self._gpus = max(1, gpus)
        self._given = given

    def is_auto(self, stage: str) -> bool:
        """Whether the tasks of a stage are measured."""
        return self._given[stage]["gpu"] == AUTO

    def unknown(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of a trial that a measurement is still wanted of."""
        if not self.is_auto(tasks[0].stage):
            return []
        return [task for task in tasks if kind_of(task.recipe) not in self._needs]

    def grant(self, trial: str, tasks: Sequence[Task]) -> dict[str, float] | None:
        """What a trial takes, `cpu` and `gpu`; None if it is better to wait until its like is measured."""
        given = self._given[tasks[0].stage]
        if self.unknown(tasks):
            if len(self._measuring) >= self._gpus:
                return None
            self._measuring.add(trial)
            gpu = 1.0
        elif given["gpu"] == AUTO:
            gpu = part(max(self._needs[kind_of(task.recipe)] for task in tasks))
        else:
            gpu = float(given["gpu"])
        self._granted[trial] = max([gpu, *(self._enlarged.get(task.key, 0.0) for task in tasks)])
        return {"cpu": float(given["cpu"]), "gpu": self._granted[trial]}

    def ended(self, trial: str) -> float:
        """A trial is over; gives the share of a GPU it had."""
        self._measuring.discard(trial)
        return self._granted.pop(trial, 0.0)

    def measured(self, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """A task is finished: what it took at most stands in its provenance, if it ran on a GPU."""
        peak, capacity = provenance.get("peak_memory"), provenance.get("memory_capacity")
        if not peak or not capacity:
            return
        kind, need = kind_of(recipe), (HEADROOM * peak + CONTEXT) / capacity
        if kind not in self._needs and STAGES[kind[0]].own_trial:
            many = round(1 / part(need))
            tasks = "1 task" if many == 1 else f"{many} tasks"
            self._say(f"{kind[0]}: peak {in_gib(peak)} of {in_gib(capacity)}, {tasks} to a GPU")
        self._needs[kind] = max(need, self._needs.get(kind, 0.0))

    def out_of_memory(self, task: Task, share: float, sizes: str) -> str | None:
        """A task had too little.

        Returns:
            Why its points fail; None if it is to be handed out once more, with a larger share.
        """
        here = f"with {share:g} of a GPU: {sizes}"
        before = self._starved.get(task.key)
        if before is not None or not 0 < share < 1:
            again = f"; before, {before}" if before else ""
            return f"{task.stage}: expected to fit into its share of a GPU, found out of memory {here}{again}"
        larger = min(1.0, 2 * share)
        self._starved[task.key] = here
        self._enlarged[task.key] = larger
        if self.is_auto(task.stage):
            kind = kind_of(task.recipe)
            self._needs[kind] = max(larger, self._needs.get(kind, 0.0))
        self._say(f"{task.stage}: out of memory {here}; tried once more with {larger:g}")
        return None


def kind_of(recipe: Mapping[str, Any]) -> Kind:
    """What tasks that need as much memory have in common: a larger network of the same stage is another kind."""
    training = recipe["config"].get("training")
    return recipe["stage"], json.dumps(training, sort_keys=True) if training else ""


def part(need: float) -> float:
    """The smallest 1/n, n at most `MOST`, that covers a need; a whole GPU for what needs more."""
    return 1 / min(MOST, max(1, int(1 / need)))


def in_gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"
