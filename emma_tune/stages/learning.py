"""What the stages that train a network have in common: how it begins, and what they report after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from emma_tune.data.batches import Images
from emma_tune.stages.runtime import Runtime
from emma_tune.storage.artifact import Metrics, Progress, State
from emma_tune.training.classifier import new_classifier
from emma_tune.training.learner import Learner
from emma_tune.training.settings import Training


def new_learner(
    training: Training, images: Images, runtime: Runtime, *, classes: int, seed: int, role: str
) -> Learner:
    """Initialize a network, or begin with the weights that its settings name.

    Args:
        training: network, initialization and optimizer.
        images: what it will be trained on.
        runtime: has the weights, and the device.
        classes: K.
        seed: the study's.
        role: victim, surrogate, attacker …; each has its own initialization and order.
    """
    classifier = new_classifier(
        training.model,
        images,
        classes=classes,
        seed=seed,
        role=role,
        init=training.init,
        weights=runtime.first_weights(training),
    )
    return Learner(classifier.to(runtime.device), training, seed=seed, role=role)


def last_epoch(history: Sequence[Metrics], epochs: int, tensors: Callable[[], dict[str, Tensor]]) -> Progress:
    """Report the last epoch of a history, with the state to resume from.

    Args:
        history: figures of each epoch so far, at least one.
        epochs: that there will be.
        tensors: of the state; only called when it is saved.
    """
    return Progress(len(history), epochs, history[-1], state=lambda: State(len(history), tensors(), list(history)))
