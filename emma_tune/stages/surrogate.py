"""Surrogate: the defender's stand-in for the attacker, distilled from clean answers and stopped early."""

from __future__ import annotations

from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import SurrogateSettings
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.training.classifier import new_classifier
from emma_tune.training.learner import Learner


def train_surrogate(
    config: SurrogateSettings, *, posteriors: Artifact, runtime: Runtime, state: State | None = None
) -> StageRun:
    """Minimize cross-entropy to clean posteriors on the query pool, for the first `until` epochs of the series.

    A surrogate of fewer epochs is a leg of the same series: its tensors are a state to go on from.

    Returns:
        tensors: weights and momenta, as `Learner.state` names them.

    Raises:
        ValueError: if the series ends before `until`.
    """
    if config.until > config.training.epochs:
        raise ValueError(f"expected st_epoch ≤ surrogate.epochs = {config.training.epochs}, found {config.until}")
    images, targets = runtime.query_images(), posteriors.tensors["queries"].to(runtime.device)
    classifier = new_classifier(
        config.training.model,
        images,
        classes=targets.shape[1],
        seed=config.seed,
        role="surrogate",
        init=config.training.init,
        weights=runtime.first_weights(config.training),
    ).to(runtime.device)
    learner = Learner(classifier, config.training, seed=config.seed, role="surrogate")
    history = []
    if state:
        learner.restore(state.tensors)
        history = list(state.history)

    for epoch in range(len(history), config.until):
        history.append({"epoch": epoch, "loss": learner.epoch(images, targets, epoch)})
        yield Progress(
            epoch + 1,
            config.until,
            history[-1],
            state=lambda: State(len(history), learner.state(), list(history)),
        )

    return Artifact(learner.state(), {}, history)
