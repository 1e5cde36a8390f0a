"""Victim: the deployed classifier, trained on the labeled images, or given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.stages.asking import clean_answers
from emma_tune.stages.learning import last_epoch, new_learner
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import GivenVictimSettings, VictimSettings
from emma_tune.storage.artifact import Artifact, Metrics, StageRun, State
from emma_tune.training.classifier import posteriors_of

MEASURED = ("validation", "test")


def have_victim(
    config: VictimSettings | GivenVictimSettings, *, runtime: Runtime, state: State | None = None
) -> StageRun:
    """Train the victim, or take the one that is given.

    Returns:
        tensors: the weights, as `Learner.weights` names them, or of a given model what `stages.asking` reads;
        metrics: accuracy on validation and test.
    """
    if isinstance(config, GivenVictimSettings):
        return _take(config, runtime)
    return _train(config, runtime, state)


def _take(config: GivenVictimSettings, runtime: Runtime) -> StageRun:
    """Ask the given victim the labeled images."""
    yield from ()
    victim = Artifact(runtime.weights(config.content))
    asked = {part: runtime.victim_images(part) for part in MEASURED}
    return Artifact(victim.tensors, _accuracies(clean_answers(victim, config.model, asked, runtime), runtime))


def _train(config: VictimSettings, runtime: Runtime, state: State | None) -> StageRun:
    """Minimize cross-entropy on one-hot labels by SGD with momentum on a cosine schedule."""
    images, K = runtime.victim_images("train"), runtime.classes
    targets = F.one_hot(runtime.victim_labels("train"), K).to(torch.get_default_dtype())
    learner = new_learner(config.training, images, runtime, classes=K, seed=config.seed, role="victim")
    history = []
    if state:
        learner.restore(state.tensors)
        history = list(state.history)

    for epoch in range(len(history), config.training.epochs):
        history.append({"epoch": epoch, "loss": learner.epoch(images, targets, epoch)})
        yield last_epoch(history, config.training.epochs, learner.state)

    answers = {part: posteriors_of(learner.classifier, runtime.victim_images(part)) for part in MEASURED}
    return Artifact(learner.weights(), _accuracies(answers, runtime), history)


def _accuracies(answers: Mapping[str, Tensor], runtime: Runtime) -> Metrics:
    return {
        f"{part}.accuracy": accuracy(p.numpy(), runtime.victim_labels(part).cpu().numpy())
        for part, p in answers.items()
    }
