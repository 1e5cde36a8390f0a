"""Points and tasks: what a study proposes, and what must be computed for it, under keys.

The key of a task is the hash of its recipe: stage, stage version, configuration, the keys of its inputs and the
fingerprints of its images. Device, workers, paths, names and Ray settings are not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emma_tune.defenses import UNDEFENDED
from emma_tune.stages import STAGES, StageSettings

Params = dict[str, float | int | bool | str]
"""By name: of a learned defense what is searched (λ under `lambda`), of a baseline budget, settings and form."""


@dataclass(frozen=True)
class Point:
    """One proposal, or one baseline with its budget.

    Attributes:
        number: from 0, in the order of the ledger.
        defense: its name in `DEFENSES`.
        params: of the defense.
    """

    number: int
    defense: str
    params: Params = field(default_factory=dict)


GROUNDWORK = Point(-1, UNDEFENDED)
"""Stands for what comes before any point."""


def named(number: int) -> str:
    """Name a point by its number; `GROUNDWORK` as the groundwork."""
    return "the groundwork" if number == GROUNDWORK.number else f"point {number}"


def key_of(recipe: Mapping[str, Any]) -> str:
    """Hash a recipe: the first 80 bits of SHA-256 over its canonical JSON, as 20 hexadecimal digits."""
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def run_seed(seed: int, repeat: int) -> int:
    """Derive the seed of all that follows the victim: the study's own under repeat 0, else a hash in [0, 2³¹)."""
    return int(key_of({"seed": seed, "repeat": repeat}), 16) % 2**31 if repeat else seed


@dataclass(frozen=True)
class Task:
    """One stage to run.

    Attributes:
        stage: its name.
        config: its configuration.
        inputs: keys of the artifacts it reads, by stage.
        images: fingerprints of the images it reads: `victim`, `queries`.
        implied: fingerprints of those that only its metrics are measured on. No part of the recipe, since its
            inputs fix them.
        continues: key of a shorter leg of the same series, whose tensors are a state to go on from. No part
            of the recipe, since training through gives the same bytes.
    """

    stage: str
    config: StageSettings
    inputs: Mapping[str, str]
    images: Mapping[str, str]
    continues: str | None = None
    implied: Mapping[str, str] = field(default_factory=dict)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.recipe))

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that determines the artifact."""
        return {
            "stage": self.stage,
            "version": STAGES[self.stage].version,
            "config": self.config.model_dump(mode="json", by_alias=True),
            "inputs": dict(self.inputs),
            "images": dict(self.images),
        }

    @property
    def needs(self) -> frozenset[str]:
        """Keys that must be finished before this task can start."""
        return frozenset(self.inputs.values()) | ({self.continues} if self.continues else set())

    def to_json(self) -> str:
        """Serialize for a worker."""
        return json.dumps({**self.recipe, "continues": self.continues, "implied": dict(self.implied)})

    @staticmethod
    def from_json(text: str) -> Task:
        """Restore a task from `to_json`."""
        given = json.loads(text)
        return replace(Task.from_recipe(given), continues=given["continues"], implied=given["implied"])

    @staticmethod
    def from_recipe(recipe: Mapping[str, Any]) -> Task:
        """Restore a task from its recipe, without what is no part of it."""
        config = STAGES[recipe["stage"]].read_settings(recipe["config"])
        return Task(recipe["stage"], config, recipe["inputs"], recipe["images"])


@dataclass(frozen=True)
class PointPlan:
    """The tasks of a point, for every seed and repeat.

    A run of the chain is named by the seed of all that follows its victim: `Planner.runs`.

    Attributes:
        point: the point.
        tasks: in the order of the pipeline, by key.
        responses: the task that measures what the defense costs, by run.
        attackers: the task that trains a clone, by (run, attacker); without matrix-based ones where there is
            no matrix.
        evaluations: the task that measures it, by (run, attacker).
        measures: the task that takes a measure of a plug-in, by (run, name).
    """

    point: Point
    tasks: Mapping[str, Task]
    responses: Mapping[int, Task]
    attackers: Mapping[tuple[int, str], Task]
    evaluations: Mapping[tuple[int, str], Task]
    measures: Mapping[tuple[int, str], Task] = field(default_factory=dict)

    def upstream(self, task: Task) -> Iterator[Task]:
        """Yield a task and everything it reads or continues, nearest first, each once."""
        seen, waiting = {task.key}, [task]
        while waiting:
            nearest = waiting.pop(0)
            yield nearest
            for key in (*nearest.inputs.values(), *([nearest.continues] if nearest.continues else ())):
                if key not in seen:
                    seen.add(key)
                    waiting.append(self.tasks[key])
