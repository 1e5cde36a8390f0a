"""Misinformer: the second network of adaptive misinformation, trained on the victim's images to be wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from emma_tune.defenses.adaptive_misinformation import misinforming
from emma_tune.stages import MisinformerSettings
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier
from emma_tune.training.learner import Learner


def train_misinformer(config: MisinformerSettings, *, runtime: Runtime, state: State | None = None) -> StageRun:
    """Minimize `−log(1 − softmax(f(x))_y)` on the victim's images, by the victim's schedule.

    Returns:
        tensors: the weights, as `Learner.weights` names them.
    """
    images, K = runtime.victim_images("train"), runtime.classes
    labels = F.one_hot(runtime.victim_labels("train"), K).to(torch.get_default_dtype())
    classifier = new_classifier(
        config.training.model,
        images,
        classes=K,
        seed=config.seed,
        role="misinformer",
        weights=runtime.first_weights(config.training),
    ).to(runtime.device)
    learner = Learner(classifier, config.training, seed=config.seed, role="misinformer")
    history = []
    if state:
        learner.restore(state.tensors)
        history = list(state.history)

    for epoch in range(len(history), config.training.epochs):
        history.append({"epoch": epoch, "loss": learner.epoch(images, labels, epoch, misinforming)})
        yield Progress(
            epoch + 1,
            config.training.epochs,
            history[-1],
            state=lambda: State(len(history), learner.state(), list(history)),
        )

    return Artifact(learner.weights(), {}, history)
