"""The point that is exported, with one of the study's victims; and which points cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.defenses import DEFENSES
from emma_tune.plan import Point, Task
from emma_tune.results import StudyView
from emma_tune.stages import ResponsesSettings
from emma_tune.stages.asking import ONNX
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact
from emma_tune.study import AnsweredVictim
from emma_tune.study.file import StudyError

NEEDED_STAGES = ("victim", "posteriors", "misinformer")
"""Stages before the answers that an export needs; only some defenses have a second network, the misinformer."""


@dataclass(frozen=True)
class DefendedPoint:
    """A defended victim as a study has left it.

    Attributes:
        view: the study.
        point: its defense.
        seed: of the victim.
        run: the seed of all that follows the victim; of several repeats the first.
        tasks: of this chain, by stage, in the order of the pipeline; of several legs of a surrogate the last.
        artifacts: by stage: victim, posteriors, responses, and misinformer where the defense has one.
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
    def matrix(self) -> torch.Tensor | None:
        """T, (K, K), of a defense that is a matrix."""
        return self.artifacts["responses"].tensors.get("matrix")

    @property
    def computed_by(self) -> set[str]:
        """The names of all that computes its answers: networks, and the defense unless it is a matrix."""
        study = self.view.study
        second = {study.misinformer.model} if "misinformer" in self.artifacts else set()
        return {study.victim.network or "", *second, *(() if self.matrix is not None else (self.point.defense,))}

    @property
    def measured(self) -> bool:
        """Whether the point is finished: clones were trained on its answers, and measured."""
        return self.view.figures(self.point) is not None

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return int(self.artifacts["responses"].tensors["test"].shape[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of an image as the victim sees it."""
        shape = self.images["test"].shape
        return (shape.channels, *shape.view)

    def queries(self, part: str) -> Images:
        """Return the images of a part as the victim is queried with them."""
        return Runtime(torch.device("cpu"), self.images, None).victim_images(part)

    @property
    def onnx(self) -> bytes | None:
        """The victim as an ONNX model; None if it is none."""
        content = self.artifacts["victim"].tensors.get(ONNX)
        return None if content is None else content.numpy().tobytes()

    @property
    def answers_alone(self) -> bool:
        """Whether the study knows the victim's answers, and not the victim."""
        return isinstance(self.view.study.victim, AnsweredVictim)

    def asked(self) -> torch.Tensor:
        """Return what the export takes: the test images, (N, C, h, w), or the answers to them, p, (N, K)."""
        if self.answers_alone:
            return self.artifacts["posteriors"].tensors["test"]
        return torch.cat(list(self.queries("test").plain(64)))

    def made_on(self, stage: str) -> str | None:
        """Name the processor that a stage was computed on, if that was noted."""
        record = self.view.record(self.tasks[stage])
        return record.provenance.get("device") if record else None


def defended_point(view: StudyView, number: int, seed: int | None, *, force: bool = False) -> DefendedPoint:
    """Fetch all that an export of a point needs, as `export_point` takes it.

    Raises:
        StudyError: if there is no such point or seed, its defense cannot be exported, it failed, its answers
            are not finished, or its clones were not measured.
    """
    point = view.point(number)
    why = refusal(point.defense, alone=isinstance(view.study.victim, AnsweredVictim))
    if why:
        raise StudyError(f"point {number}: expected a defense that is one function of the image, found {why}")
    if view.state(point) == "failed":
        raise StudyError(
            f"point {number}: expected a finished point, found one that failed: {view.outcomes[number].reason}"
        )
    responses = view.artifact(number, "responses", seed=seed)
    if not force and view.figures(point) is None:
        raise StudyError(_unmeasured(view, point))
    run, tasks = view.run_of(seed), view.tasks_of(number, seed=seed)
    artifacts = {stage: view.artifact(number, stage, seed=seed) for stage in NEEDED_STAGES if stage in tasks}
    artifacts["responses"] = responses
    return DefendedPoint(view, point, view.planner.runs[run], run, tasks, artifacts, view.images("victim"))


def _unmeasured(view: StudyView, point: Point) -> str:
    """Say that a point's clones were not measured, and what can be done about it."""
    stopped = point.number in view.outcomes
    state = "stopped before its clones were" if stopped else "whose clones are not yet"
    everything = " --set search.stop=none" if stopped else ""
    return (
        f"point {point.number}: expected a finished point, found one {state} measured; run it to its end with: "
        f"emma-tune resume {view.folder.root}{everything}; or export it as it is with --force"
    )


def refusal(defense: str, *, alone: bool = False) -> str | None:
    """Say why a defense cannot be exported; None if it can.

    Only a function of p alone, or of p and of another network's answer to the same image, can be.

    Args:
        defense: its name.
        alone: whether it is exported without a victim.
    """
    if DEFENSES[defense].randomized:
        return f"{defense}, whose noise is drawn from a hash of each query's pixels"
    if DEFENSES[defense].guided == "surrogate":
        return f"{defense}, which takes gradients of a second network for each query"
    if DEFENSES[defense].guided and alone:
        return f"{defense}, whose second network looks at images, beside a victim of which only answers are known"
    return None
