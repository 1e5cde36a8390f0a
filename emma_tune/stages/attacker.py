"""Attacker: train a clone on the answers to the attacker’s queries."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks import learn
from emma_tune.attacks.lesson import Loot
from emma_tune.data.images import subset
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import Learner

PARTS = ("validation", "test")


def train_attacker(
    config: AttackerSettings, *, responses: Artifact, runtime: Runtime, state: State | None = None
) -> StageRun:
    """Train a fresh network on (augmented query, what the attacker makes of p'), with the attacker's loss.

    All attackers of a seed share initialization, order and augmentation: they differ by their attack only.

    Returns:
        tensors: the clone's posteriors on the victim's images, `last.validation` and `last.test` of the last
        epoch, `best.validation` and `best.test` of the epoch with the highest validation accuracy, each
        (N, K); metrics: both accuracies of both, and the attack's own metrics; history: both accuracies,
        every epoch, and the best validation accuracy up to then.
    """
    images = runtime.query_images(config.queries)
    lesson = learn(config.kind, _loot(responses, runtime, config.queries))
    targets = lesson.targets.to(runtime.device)
    classifier = new_classifier(
        config.training.model,
        images,
        classes=targets.shape[1],
        seed=config.seed,
        role="attacker",
        init=config.training.init,
        weights=runtime.first_weights(config.training),
    ).to(runtime.device)
    learner = Learner(classifier, config.training, seed=config.seed, role="attacker")
    labels = {part: runtime.victim_labels(part).cpu().numpy() for part in PARTS}
    history = []
    answers: dict[str, Tensor] = {}
    if state:
        learner.restore(state.tensors)
        answers = {name: tensor for name, tensor in state.tensors.items() if name.endswith(PARTS)}
        history = list(state.history)

    for epoch in range(len(history), config.training.epochs):
        loss = learner.epoch(images, targets, epoch, lesson.loss)
        best_before = history[-1]["best.validation.accuracy"] if history else -1.0
        history.append({"epoch": epoch, "loss": loss})
        for part in PARTS:
            answers[f"last.{part}"] = posteriors_of(classifier, runtime.victim_images(part))
            history[-1][f"{part}.accuracy"] = accuracy(answers[f"last.{part}"].numpy(), labels[part])
        if history[-1]["validation.accuracy"] > best_before:
            answers |= {f"best.{part}": answers[f"last.{part}"] for part in PARTS}
        history[-1]["best.validation.accuracy"] = max(best_before, history[-1]["validation.accuracy"])
        yield Progress(
            epoch + 1,
            config.training.epochs,
            history[-1],
            state=lambda: State(len(history), {**learner.state(), **_copies(answers)}, list(history)),
        )

    metrics = {
        f"{epoch}.{part}.accuracy": accuracy(answers[f"{epoch}.{part}"].numpy(), labels[part])
        for epoch in ("last", "best")
        for part in PARTS
    }
    return Artifact(_copies(answers), {**metrics, **lesson.metrics}, history)


def _loot(responses: Artifact, runtime: Runtime, queries: int | None) -> Loot:
    """Collect the answers to the attacker’s queries, and to the few images it has labels of."""
    answers, labels = responses.tensors["queries"], runtime.labeled.labels
    assert labels is not None, "a victim's images have labels"
    labeled = responses.tensors.get("labeled", answers[:0])  # not asked by attackers that ask views
    return Loot(
        answers[torch.from_numpy(subset(len(answers), queries))],
        labeled,
        torch.from_numpy(labels[: len(labeled)]),
        responses.tensors.get("matrix"),
    )


def _copies(answers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in answers.items()}  # best and last may be one tensor
