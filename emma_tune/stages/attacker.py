"""Attacker: train a clone on the answers to the attacker’s queries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emma_tune.stages.learning import last_epoch, new_learner
from emma_tune.stages.metrics import accuracy
from emma_tune.stages.querying.at_once import AtOnce
from emma_tune.stages.querying.crafted import Crafted
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.querying.selected import Selected
from emma_tune.stages.querying.strategy import QueryStrategy
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics, StageRun, State
from emma_tune.training.classifier import Classifier, posteriors_of

PARTS = ("validation", "test")


def train_attacker(
    config: AttackerSettings,
    *,
    responses: Artifact,
    guidance: Artifact | None = None,
    victim: Artifact | None = None,
    surrogate: Artifact | None = None,
    misinformer: Artifact | None = None,
    runtime: Runtime,
    state: State | None = None,
) -> StageRun:
    """Train a fresh network on (augmented query, what the attacker makes of p'), with the attacker's loss.

    An attacker in rounds trains one in each round. All attackers of a seed share initialization, order and
    augmentation: they differ by their attack only.

    Returns:
        tensors: the clone's posteriors on the victim's images, `last.validation` and `last.test` of the last
        epoch, `best.validation` and `best.test` of the epoch with the highest validation accuracy, each
        (N, K); metrics: both accuracies of both, and the attack's own metrics; history: both accuracies,
        every epoch, and the best validation accuracy up to then.
    """
    strategy = _strategy_of(config, responses, guidance, victim, surrogate or misinformer, runtime)
    K, in_a_round = responses.tensors["queries"].shape[1], config.training.epochs
    labels = {part: runtime.victim_labels(part).cpu().numpy() for part in PARTS}
    new_clone = partial(
        new_learner, config.training, runtime=runtime, classes=K, seed=config.seed, role="attacker"
    )
    history: list[Metrics] = []
    answers: dict[str, Tensor] = {}
    if state:
        training_set = strategy.resume(state.tensors)
        learner = new_clone(training_set.images)
        learner.restore(state.tensors)
        answers = {name: tensor for name, tensor in state.tensors.items() if name.endswith(PARTS)}
        history = list(state.history)

    for epoch in range(len(history), strategy.rounds * in_a_round):
        if epoch % in_a_round == 0:
            training_set = strategy.begin(epoch // in_a_round, learner.classifier if epoch else None)
            learner = new_clone(training_set.images)
        loss = training_set.train(learner, epoch % in_a_round)
        best = history[-1]["best.validation.accuracy"] if history else -1.0
        found, newest = _measure(learner.classifier, labels, best, runtime)
        history.append({"epoch": epoch, "loss": loss, **found})
        answers |= newest
        yield last_epoch(
            history,
            strategy.rounds * in_a_round,
            lambda: {**learner.state(), **strategy.state(), **_copies(answers)},
        )

    metrics = {**_accuracies(answers, labels), **training_set.lesson.metrics, **strategy.metrics()}
    return Artifact(_copies(answers), metrics, history)


def _accuracies(answers: Mapping[str, Tensor], labels: Mapping[str, NDArray[np.int64]]) -> Metrics:
    """Compute the accuracies of the last and the best epoch."""
    return {
        f"{epoch}.{part}.accuracy": accuracy(answers[f"{epoch}.{part}"].numpy(), labels[part])
        for epoch in ("last", "best")
        for part in PARTS
    }


def _measure(
    classifier: Classifier, labels: Mapping[str, NDArray[np.int64]], best: float, runtime: Runtime
) -> tuple[Metrics, dict[str, Tensor]]:
    """Measure a clone on the victim's images.

    Args:
        classifier: the clone.
        labels: of the images, by part.
        best: the highest validation accuracy of the epochs before; below 0 if there are none.
        runtime: the images.

    Returns:
        Both accuracies and the highest validation accuracy so far; and the clone's posteriors as `last` and, if it
        is better than all before, as `best`.
    """
    answers = {f"last.{part}": posteriors_of(classifier, runtime.victim_images(part)) for part in PARTS}
    found = {f"{part}.accuracy": accuracy(answers[f"last.{part}"].numpy(), labels[part]) for part in PARTS}
    if found["validation.accuracy"] > best:
        answers |= {f"best.{part}": answers[f"last.{part}"] for part in PARTS}
    return {**found, "best.validation.accuracy": max(best, found["validation.accuracy"])}, answers


def _strategy_of(
    config: AttackerSettings,
    responses: Artifact,
    guidance: Artifact | None,
    victim: Artifact | None,
    own: Artifact | None,
    runtime: Runtime,
) -> QueryStrategy:
    """Return how the attacker queries; `own` is the network of a guided defense."""
    match config.attack.asks:
        case "chosen":
            return Selected(config, responses, runtime, guidance)
        case "made":
            assert victim is not None, "the plan hands over the victim"
            assert config.oracle is not None, "and says how it is asked"
            assert config.release is not None, "and what it releases"
            oracle = Oracle(
                config.oracle,
                config.release,
                victim=victim,
                own=own,
                matrix=responses.tensors.get("matrix"),
                classes=responses.tensors["queries"].shape[1],
                runtime=runtime,
            )
            return Crafted(config, responses, oracle, runtime)
    return AtOnce(config, responses, runtime, guidance)


def _copies(answers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in answers.items()}  # best and last may be one tensor
