"""What is exported: one point of a study with one of its victims, whatever it is made from, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.data.mirror import image_cache
from emma_tune.data.source import DataError
from emma_tune.defenses import DEFENSES
from emma_tune.plan import Point, Task
from emma_tune.results import StudyView
from emma_tune.stages import ResponsesSettings
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from emma_tune.study.file import StudyError

OWN = ("victim", "posteriors", "responses")
"""Stages that every exported point has; with a second network its stage comes to them."""


@dataclass(frozen=True)
class Subject:
    """A defended victim as a study has left it.

    Attributes:
        view: the study.
        point: its defence.
        seed: of the victim.
        run: the seed of all that follows the victim; of several repeats the first.
        tasks: of this chain, by stage; of several legs of a surrogate the last.
        artifacts: by stage: victim, posteriors, responses, and misinformer where the defence has one.
        images: the victim's, by part.
    """

    view: StudyView
    point: Point
    seed: int
    run: int
    tasks: Mapping[str, Task]
    artifacts: Mapping[str, Artifact]
    images: Mapping[str, ImageSet]

    @property
    def settings(self) -> ResponsesSettings:
        """How its answers are released."""
        config = self.tasks["responses"].config
        assert isinstance(config, ResponsesSettings), "the plan gives each stage its settings"
        return config

    @property
    def measured(self) -> bool:
        """Whether the point is finished: clones were trained on its answers, and measured."""
        return self.view.figures(self.point) is not None

    @property
    def classes(self) -> int:
        """K."""
        return int(self.artifacts["responses"].tensors["test"].shape[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of an image as the victim sees it."""
        shape = self.images["test"].shape
        return (shape.channels, *shape.view)

    def asked(self, part: str) -> Images:
        """Images of a part, as they are asked."""
        return Runtime(torch.device("cpu"), self.images, None).victim_images(part)

    def made_on(self, stage: str) -> str | None:
        """The processor that a stage was computed on, if that was noted."""
        record = self.view.record(self.tasks[stage])
        return record.provenance.get("device") if record else None


def choose(view: StudyView, number: int, seed: int | None, *, force: bool = False) -> Subject:
    """Fetches all that an export of a point needs.

    Args:
        view: the study.
        number: of the point.
        seed: of the victim; the study's first if None.
        force: whether a point will do whose clones were not measured.

    Raises:
        StudyError: if there is no such point or seed, its defense cannot be exported, it failed, its answers
            are not finished, or its clones were not measured.
    """
    point = view.ledger.points.get(number)
    why = refusal(point.defense) if point else None
    if point and why:
        raise StudyError(f"point {number}: expected a defence that is one function of the image, found {why}")
    if point and view.state(point) == "failed":
        raise StudyError(
            f"point {number}: expected a finished point, found one that failed: {view.outcomes[number].reason}"
        )
    responses = view.artifact(number, "responses", seed=seed)  # names what is wrong with point and seed
    assert point, "a point with answers is in the ledger"
    if not force and view.figures(point) is None:
        raise StudyError(_unmeasured(view, point))
    run, victim = next((run, victim) for run, victim in view.planner.runs.items() if seed in (None, victim))
    plan = view.planner.point(point)
    tasks: dict[str, Task] = {}
    for task in plan.upstream(plan.responses[run]):
        tasks.setdefault(task.stage, task)
    stages = [stage for stage in (*OWN, "misinformer") if stage in tasks and stage != "responses"]
    artifacts = {stage: view.artifact(number, stage, seed=seed) for stage in stages}
    return Subject(view, point, victim, run, tasks, {**artifacts, "responses": responses}, _images(view))


def _unmeasured(view: StudyView, point: Point) -> str:
    """Say that a point's clones were not measured, and what can be done about it."""
    stopped = point.number in view.outcomes
    state = "stopped before its clones were" if stopped else "whose clones are not yet"
    everything = " --set search.stop=none" if stopped else ""
    return (
        f"point {point.number}: expected a finished point, found one {state} measured; run it to its end with: "
        f"emma-tune resume {view.folder.root}{everything}; or export it as it is with --force"
    )


def refusal(defense: str) -> str | None:
    """Why a defence cannot be exported; None if it can.

    What can is a function of p alone, or of p and of another network's answer to the same image.
    """
    baseline = DEFENSES[defense]
    if baseline.randomized:
        return f"{defense}, whose noise is drawn from a hash of each query's pixels"
    if baseline.guided == "surrogate":
        return f"{defense}, which takes gradients of a second network for each query"
    return None


def _images(view: StudyView) -> Mapping[str, ImageSet]:
    try:
        return image_cache(view.store.root).load(view.planner.images["victim"])
    except (FileNotFoundError, DataError) as error:
        raise StudyError(
            f"{view.store.root}: expected the victim's decoded images, found none; run the study again"
        ) from error
