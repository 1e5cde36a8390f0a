"""Victim: the deployed classifier, trained on the labeled images."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from emma_tune.stages.metrics import accuracy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import VictimSettings
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier, posteriors_of
from emma_tune.training.learner import Learner


def train_victim(config: VictimSettings, *, runtime: Runtime, state: State | None = None) -> StageRun:
    """Minimize cross-entropy on one-hot labels by SGD with momentum on a cosine schedule.

    Returns:
        tensors: the weights, as `Learner.weights` names them; metrics: accuracy on validation and test.
    """
    images, K = runtime.victim_images("train"), runtime.classes
    targets = F.one_hot(runtime.victim_labels("train"), K).to(torch.get_default_dtype())
    classifier = new_classifier(
        config.training.model,
        images,
        classes=K,
        seed=config.seed,
        role="victim",
        init=config.training.init,
        weights=runtime.first_weights(config.training),
    ).to(runtime.device)
    learner = Learner(classifier, config.training, seed=config.seed, role="victim")
    history = []
    if state:
        learner.restore(state.tensors)
        history = list(state.history)

    for epoch in range(len(history), config.training.epochs):
        history.append({"epoch": epoch, "loss": learner.epoch(images, targets, epoch)})
        yield Progress(
            epoch + 1,
            config.training.epochs,
            history[-1],
            state=lambda: State(len(history), learner.state(), list(history)),
        )

    answers = {part: posteriors_of(classifier, runtime.victim_images(part)) for part in ("validation", "test")}
    metrics = {
        f"{part}.accuracy": accuracy(p.numpy(), runtime.victim_labels(part).cpu().numpy())
        for part, p in answers.items()
    }
    return Artifact(learner.weights(), metrics, history)
