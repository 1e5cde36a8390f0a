"""Every stage leaves the same bytes however often it was interrupted, and what it leaves is what it says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emma_tune.data.images import ImageSet
from emma_tune.stages import (
    STAGES,
    AttackerSettings,
    EvaluationSettings,
    GuidanceSettings,
    MatrixSettings,
    MisinformerSettings,
    PosteriorsSettings,
    ResponsesSettings,
    SurrogateSettings,
    VictimSettings,
)
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, StageRun, State, run_through
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.fields import Frozen
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Training
from tests.stages.small import content, interrupted

K, EPOCHS = 3, 4
PARTS = ("validation", "test")
TRAINING = Training(model="resnet8", epochs=EPOCHS, batch_size=8, augmentation="shift_flip")
SETTINGS: dict[str, Frozen] = {
    "victim": VictimSettings(training=TRAINING, seed=1),
    "posteriors": PosteriorsSettings(model="resnet8"),
    "surrogate": SurrogateSettings(training=TRAINING, until=1, seed=1),
    "misinformer": MisinformerSettings(training=TRAINING, seed=1),
    "guidance": GuidanceSettings(defense="mad", model="resnet8"),
    "matrix": MatrixSettings(
        **{"lambda": 0.3}, training=TRAINING.model_copy(update={"epochs": 5}), lr_gamma=2.0, st_epoch=1,
        keep="lowest_trace", min_change=0.0, patience=9, seed=1,
    ),
    "responses": ResponsesSettings(defense="emma"),
    "attacker": AttackerSettings(kind="soft", training=TRAINING, seed=1),
    "evaluation": EvaluationSettings(),
}  # fmt: skip

UNUSED: dict[str, set[str]] = {stage: set() for stage in STAGES}
"""Inputs that these settings have no use for."""
UNUSED |= {"guidance": {"misinformer"}, "responses": {"guidance"}}


@dataclass(frozen=True)
class Pipeline:
    """Tiny images and the artifact of every stage."""

    runtime: Runtime
    artifacts: dict[str, Artifact]

    def start(self, name: str, config: Frozen | None = None, state: State | None = None) -> StageRun:
        inputs = {other: self.artifacts[other] for other in STAGES[name].inputs if other not in UNUSED[name]}
        return STAGES[name].start(config or SETTINGS[name], inputs=inputs, runtime=self.runtime, state=state)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    chance = np.random.default_rng(2)

    def draw(N: int) -> ImageSet:
        labels = np.arange(N) % K
        images = chance.integers(0, 200, (N, 1, 8, 8), dtype=np.uint8)
        images[np.arange(N), :, labels * 2] += 40  # a bright row tells the class
        return ImageSet(images, labels)

    victim = {"train": draw(21), "validation": draw(14), "test": draw(13)}
    made = Pipeline(Runtime(torch.device("cpu"), victim, ImageSet(draw(18).images)), {})
    for name in SETTINGS:  # all but the measures of plug-ins
        made.artifacts[name] = run_through(made.start(name))
    return made


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if stage.own_trial])
def test_interruptions_leave_no_trace(pipeline: Pipeline, tmp_path: Path, name: str) -> None:
    config = SETTINGS[name].model_copy(update={"until": EPOCHS}) if name == "surrogate" else SETTINGS[name]
    through = run_through(pipeline.start(name, config))
    assert len(through.history) == (0 if name == "guidance" else 4)
    if name == "matrix":  # which matrix is kept must depend on what the state carries
        assert through.history[-1]["trace"] > through.history[-1]["lowest_trace"]
    for pauses in ({1}, {2}, {3}, {4}, {1, 2, 3, 4}):
        again, _ = interrupted(lambda state: pipeline.start(name, config, state), pauses, tmp_path)
        assert content(again) == content(through), f"interrupted after {pauses}"


@pytest.mark.parametrize("init", ["torch", "kaiming"])
@pytest.mark.parametrize("name", ["victim", "surrogate", "soft", "hard"])
def test_a_training_stage_is_the_series_of_a_learner_on_its_own_targets(
    pipeline: Pipeline, name: str, init: str
) -> None:
    training = TRAINING.model_copy(update={"init": init})
    images, released = pipeline.runtime.query_images(), pipeline.artifacts["responses"].tensors["queries"]
    labels = pipeline.runtime.victim_labels("train")
    role, config, images, targets = {
        "victim": (
            "victim",
            VictimSettings(training=training, seed=1),
            pipeline.runtime.victim_images("train"),
            torch.eye(K)[labels],
        ),
        "surrogate": (
            "surrogate",
            SurrogateSettings(training=training, until=EPOCHS, seed=1),
            images,
            pipeline.artifacts["posteriors"].tensors["queries"],
        ),
        "soft": ("attacker", AttackerSettings(kind="soft", training=training, seed=1), images, released),
        "hard": (
            "attacker",
            AttackerSettings(kind="hard", training=training, seed=1),
            images,
            torch.eye(K)[released.argmax(dim=1)],
        ),
    }[name]
    artifact = run_through(pipeline.start(role, config))
    classifier = new_classifier("resnet8", images, classes=K, seed=1, role=role, init=init)
    learner = Learner(classifier, TRAINING, seed=1, role=role)
    losses = [learner.epoch(images, targets, epoch) for epoch in range(EPOCHS)]
    assert [figures["loss"] for figures in artifact.history] == losses
    if role == "attacker":
        assert torch.equal(
            artifact.tensors["last.test"], posteriors_of(classifier, pipeline.runtime.victim_images("test"))
        )
    else:
        weights = {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
        assert all(torch.equal(artifact.tensors[name], value) for name, value in weights.items())


@pytest.mark.parametrize(("least", "patience"), [(1.0, 99), (0.0, 1)])
def test_a_settled_matrix_stays_settled(pipeline: Pipeline, tmp_path: Path, least: float, patience: int) -> None:
    config = SETTINGS["matrix"].model_copy(update={"min_change": least, "patience": patience})
    through = run_through(pipeline.start("matrix", config))
    assert len(through.history) < 4
    for pause in range(1, len(through.history) + 1):
        again, _ = interrupted(lambda state: pipeline.start("matrix", config, state), {pause}, tmp_path)
        assert content(again) == content(through)


def test_a_younger_surrogate_is_a_leg_of_the_same_series(pipeline: Pipeline) -> None:
    legs = {until: SurrogateSettings(training=TRAINING, until=until, seed=1) for until in (0, 1, 3)}
    straight = run_through(pipeline.start("surrogate", legs[3]))
    for until in (0, 1):
        young = run_through(pipeline.start("surrogate", legs[until]))
        state = State(len(young.history), young.tensors, young.history)
        assert len(young.history) == until
        assert content(run_through(pipeline.start("surrogate", legs[3], state))) == content(straight)


def test_a_leg_adds_the_epochs_since_the_leg_before() -> None:
    first, second = (SurrogateSettings(training=TRAINING, until=until, seed=1) for until in (1, 3))
    assert first.epochs() == (1, EPOCHS)
    assert second.epochs(first) == (2, EPOCHS)


def test_a_surrogate_of_no_epochs_is_the_initialization(pipeline: Pipeline) -> None:
    config = SurrogateSettings(training=TRAINING, until=0, seed=1)
    tensors = run_through(pipeline.start("surrogate", config)).tensors
    fresh = new_classifier("resnet8", pipeline.runtime.query_images(), classes=K, seed=1, role="surrogate")
    assert tensors.keys() == {f"classifier.{name}" for name in fresh.state_dict()}
    assert all(torch.equal(tensors[f"classifier.{name}"], value) for name, value in fresh.state_dict().items())


def test_emma_releases_no_zero(pipeline: Pipeline) -> None:
    clean = {
        part: torch.eye(K)[tensor.argmax(1)] for part, tensor in pipeline.artifacts["posteriors"].tensors.items()
    }
    inputs = {"posteriors": Artifact(clean), "matrix": Artifact({"matrix": torch.eye(K)})}
    stage = STAGES["responses"].start(ResponsesSettings(defense="emma"), inputs=inputs, runtime=pipeline.runtime)
    released = run_through(stage).tensors
    assert all(float(released[part].min()) == pytest.approx(1e-12, rel=1e-6) for part in clean)


@pytest.mark.parametrize("lr", [1e-9, 0.02, 0.1])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_best_epoch_is_the_first_of_the_highest_validation_accuracy(
    pipeline: Pipeline, kind: str, lr: float
) -> None:
    config = AttackerSettings(kind=kind, training=TRAINING.model_copy(update={"lr": lr, "epochs": 6}), seed=1)
    stage, after = pipeline.start("attacker", config), []
    while True:
        try:
            after.append(next(stage).state().tensors)
        except StopIteration as finished:
            artifact: Artifact = finished.value
            break
    labels = {part: pipeline.runtime.victim[part].labels for part in PARTS}
    accuracies = [{part: _accuracy(tensors[f"last.{part}"], labels[part]) for part in PARTS} for tensors in after]
    of_validation = [figures["validation"] for figures in accuracies]
    best = of_validation.index(max(of_validation))
    so_far = [figures["best.validation.accuracy"] for figures in artifact.history]
    assert so_far == [max(of_validation[: epoch + 1]) for epoch in range(6)]
    if lr == 1e-9:  # too slow to learn: a tie
        assert len(set(of_validation)) < 6
    for part in PARTS:
        assert [figures[f"{part}.accuracy"] for figures in artifact.history] == [a[part] for a in accuracies]
        for epoch, number in (("best", best), ("last", 5)):
            assert torch.equal(artifact.tensors[f"{epoch}.{part}"], after[number][f"last.{part}"])
            found = artifact.metrics[f"{epoch}.{part}.accuracy"]
            assert found == _accuracy(artifact.tensors[f"{epoch}.{part}"], labels[part])
    assert artifact.tensors.keys() == {f"{epoch}.{part}" for epoch in ("best", "last") for part in PARTS}


def _accuracy(answers: Tensor, labels: np.ndarray) -> float:
    top = [max(range(K), key=row.__getitem__) for row in answers.tolist()]
    return sum(guess == label for guess, label in zip(top, labels, strict=True)) / len(labels)


def test_an_attacker_that_diverges_raises(pipeline: Pipeline) -> None:
    config = AttackerSettings(kind="soft", training=TRAINING.model_copy(update={"lr": 1e30}), seed=1)
    with pytest.raises(FloatingPointError, match="attacker"):
        run_through(pipeline.start("attacker", config))
