"""Surrogate: the defender's stand-in for the attacker, distilled from clean answers and stopped early."""

from __future__ import annotations

from emma_tune.stages.learning import last_epoch, new_learner
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import SurrogateSettings
from emma_tune.storage.artifact import Artifact, StageRun, State


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
    K = targets.shape[1]
    learner = new_learner(config.training, images, runtime, classes=K, seed=config.seed, role="surrogate")
    history = []
    if state:
        learner.restore(state.tensors)
        history = list(state.history)

    for epoch in range(len(history), config.until):
        history.append({"epoch": epoch, "loss": learner.epoch(images, targets, epoch)})
        yield last_epoch(history, config.until, learner.state)

    return Artifact(learner.state(), {}, history)
