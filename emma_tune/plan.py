"""From a study and a point to tasks with keys. Pure: no Ray, no files, no torch.

The key of a task is the hash of its recipe: stage, stage version, configuration, the keys of its inputs and the
fingerprints of its images. Device, workers, paths, names and Ray settings are not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from emma_tune.config import SEARCHED, Frozen, Study, Training
from emma_tune.models import NONE
from emma_tune.stages import STAGES
from emma_tune.stages.settings import (
    AttackerSettings,
    EvaluationSettings,
    MatrixSettings,
    PosteriorsSettings,
    ResponsesSettings,
    SurrogateSettings,
    VictimSettings,
)

Params = dict[str, float | int]
"""λ under `lambda`, `lr_gamma`, `st_epoch`."""


@dataclass(frozen=True)
class Point:
    """One proposal, or one fixed baseline.

    Attributes:
        number: from 0, in the order of the ledger.
        defense: `emma`, or the name of a baseline.
        params: of the proposal; empty for a baseline.
    """

    number: int
    defense: str
    params: Params = field(default_factory=dict)


GROUNDWORK = Point(-1, "none")
"""Stands for what comes before any point."""

BEFORE_POINTS = ("victim", "surrogate")
"""Stages that need no point to be planned."""


def named(number: int) -> str:
    """A point's number for people; what comes before any point by its name."""
    return "the groundwork" if number == GROUNDWORK.number else f"point {number}"


def key_of(recipe: Mapping[str, Any]) -> str:
    """The first 80 bits of SHA-256 over the canonical JSON of a recipe, as 20 hexadecimal digits."""
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Task:
    """One stage to run.

    Attributes:
        stage: its name.
        config: its configuration.
        inputs: keys of the artifacts it reads, by stage.
        images: fingerprints of the images it reads: `victim`, `queries`.
        continues: key of a shorter leg of the same series, whose tensors are a state to go on from. No part
            of the recipe, since training through gives the same bytes.
    """

    stage: str
    config: Frozen
    inputs: Mapping[str, str]
    images: Mapping[str, str]
    continues: str | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.recipe))

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the artifact."""
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
        """For the way to a worker."""
        return json.dumps({**self.recipe, "continues": self.continues})

    @staticmethod
    def from_json(text: str) -> Task:
        """What `to_json` gave."""
        recipe = json.loads(text)
        settings = STAGES[recipe["stage"]].settings
        return Task(
            recipe["stage"],
            settings.model_validate(recipe["config"]),
            recipe["inputs"],
            recipe["images"],
            recipe["continues"],
        )


@dataclass(frozen=True)
class PointPlan:
    """The tasks of a point, for every seed.

    Attributes:
        point: the point.
        tasks: in the order of the pipeline, by key.
        responses: the task that measures what the defence costs, by seed.
        attackers: the task that trains a clone, by (seed, attacker).
        evaluations: the task that measures it, by (seed, attacker).
    """

    point: Point
    tasks: Mapping[str, Task]
    responses: Mapping[int, Task]
    attackers: Mapping[tuple[int, str], Task]
    evaluations: Mapping[tuple[int, str], Task]


class Planner:
    """Plans points of one study.

    Args:
        study: the study.
        images: fingerprints of the victim's images and of the pool, under `victim` and `queries`.
        weights: fingerprints of the weights to begin with, by `weights_name`.
        until: the last stage to plan; all if None.
    """

    def __init__(
        self,
        study: Study,
        images: Mapping[str, str],
        weights: Mapping[str, str] | None = None,
        *,
        until: str | None = None,
    ) -> None:
        self.study = study
        self.until = until
        self.images = dict(images)
        self.weights = dict(weights or {})
        # the stages that points share are planned once
        self._foundation = cache(self._plan_foundation)
        self._legs = cache(self._plan_legs)

    @property
    def digest(self) -> str:
        """Names everything but the point that determines a point's tasks and what is concluded from them.

        Two studies of the same digest plan the same tasks for the same point.
        """
        study = self.study.model_dump(mode="json", include={"surrogate", "defense", "attackers", "seeds"})
        study["victim"] = self.study.victim.model_dump(mode="json", include=set(Training.model_fields))
        versions = {name: stage.version for name, stage in STAGES.items()}
        return key_of({"study": study, "images": self.images, "weights": self.weights, "versions": versions})

    def foundation(self, seed: int) -> tuple[Task, Task]:
        """The victim of a seed and its posteriors: what every point of that seed stands on."""
        return self._foundation(seed)

    def point(self, point: Point) -> PointPlan:
        """All tasks of a point."""
        tasks: dict[str, Task] = {}
        released: dict[int, Task] = {}
        attackers: dict[tuple[int, str], Task] = {}
        evaluations: dict[tuple[int, str], Task] = {}
        for seed in self.study.seeds:
            victim, posteriors = self.foundation(seed)
            chain = [victim, posteriors]
            if point.defense == SEARCHED:
                legs = self._legs(seed, int(point.params["st_epoch"]))
                matrix = self._matrix(point.params, seed, posteriors, legs[-1])
                chain += [*legs, matrix]
                inputs = {"posteriors": posteriors.key, "matrix": matrix.key}
            else:
                inputs = {"posteriors": posteriors.key}
            responses = self._task("responses", ResponsesSettings(defense=point.defense), inputs)
            chain.append(responses)
            released[seed] = responses
            for name, thief in self.study.attackers.items():
                settings = AttackerSettings(kind=thief.kind, training=self._training(thief), seed=seed)
                attacker = self._task("attacker", settings, {"responses": responses.key})
                evaluation = self._task(
                    "evaluation",
                    EvaluationSettings(),
                    {"posteriors": posteriors.key, "responses": responses.key, "attacker": attacker.key},
                )
                attackers[seed, name] = attacker
                evaluations[seed, name] = evaluation
                chain += [attacker, evaluation]
            tasks |= {task.key: task for task in chain}
        return PointPlan(point, self._cut(tasks), released, attackers, evaluations)

    def groundwork(self) -> PointPlan:
        """What all points share: victims, clean answers, and surrogates of every st_epoch."""
        tasks: dict[str, Task] = {}
        for seed in self.study.seeds:
            legs = self._legs(seed, max(self.study.search.space.st_epoch.choices))
            tasks |= {task.key: task for task in (*self.foundation(seed), *legs)}
        return PointPlan(GROUNDWORK, self._cut(tasks), {}, {}, {})

    def _cut(self, tasks: dict[str, Task]) -> dict[str, Task]:
        """The tasks of the stages that are planned."""
        last = len(STAGES) if self.until is None else list(STAGES).index(self.until)
        return {key: task for key, task in tasks.items() if list(STAGES).index(task.stage) <= last}

    def _plan_foundation(self, seed: int) -> tuple[Task, Task]:
        training = self._training(self.study.victim)
        victim = self._task("victim", VictimSettings(training=training, seed=seed), {})
        settings = PosteriorsSettings(model=training.model)
        return victim, self._task("posteriors", settings, {"victim": victim.key})

    def _plan_legs(self, seed: int, until: int) -> list[Task]:
        """The surrogate of `until` epochs, as legs that end at every smaller st_epoch of the space."""
        _, posteriors = self.foundation(seed)
        ends = sorted({e for e in self.study.search.space.st_epoch.choices if e < until} | {until})
        legs: list[Task] = []
        for end in ends:
            settings = SurrogateSettings(training=self._training(self.study.surrogate), until=end, seed=seed)
            before = legs[-1].key if legs else None
            legs.append(self._task("surrogate", settings, {"posteriors": posteriors.key}, before))
        return legs

    def _matrix(self, params: Params, seed: int, posteriors: Task, surrogate: Task) -> Task:
        defense = self.study.defense
        surrogate_training = self._training(self.study.surrogate)
        settings = MatrixSettings(
            training=surrogate_training.model_copy(
                update={
                    "epochs": defense.epochs,
                    "batch_size": defense.batch_size or surrogate_training.batch_size,
                    "precision": defense.precision or surrogate_training.precision,
                    "compile": False,  # the compiler knows no tangents
                }
            ),
            lambda_=params["lambda"],
            lr_gamma=params["lr_gamma"],
            st_epoch=int(params["st_epoch"]),
            keep=defense.keep,
            min_change=defense.min_change,
            patience=defense.patience,
            seed=seed,
        )
        return self._task("matrix", settings, {"posteriors": posteriors.key, "surrogate": surrogate.key})

    def _task(self, stage: str, config: Frozen, inputs: Mapping[str, str], continues: str | None = None) -> Task:
        images = {name: self.images[name] for name in STAGES[stage].images}
        return Task(stage, config, inputs, images, continues)

    def _training(self, part: Training) -> Training:
        """How a network is trained, without its data set or kind; weights are named by their content."""
        named = {name: getattr(part, name) for name in Training.model_fields}
        if part.weights != NONE:
            named["weights"] = self.weights[weights_name(part)]
        return Training(**named)


def weights_name(part: Training) -> str:
    """What a part begins with, as a name in a table."""
    return f"{part.model}: {part.weights}"
