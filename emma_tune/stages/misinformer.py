"""Misinformer: the second network of adaptive misinformation, trained on the victim's images to be wrong."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.adaptive_misinformation import exposing, misinforming
from emma_tune.stages.learning import last_epoch, new_learner
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import MisinformerSettings
from emma_tune.storage.artifact import Artifact, StageRun, State

EXPOSED = "exposed."
"""Prefix of the tensors of the network that is exposed to outliers."""


def train_misinformer(config: MisinformerSettings, *, runtime: Runtime, state: State | None = None) -> StageRun:
    """Minimize `−log(1 − softmax(f(x))_y)` on the victim's images, by the victim's schedule.

    With outlier exposure another network learns to answer in the victim's place, by the same schedule: to be right
    about the victim's images, and unsure of the outliers.

    Returns:
        tensors: the weights, as `Learner.weights` names them; those of the exposed network under `EXPOSED`.
    """
    images, K = runtime.victim_images("train"), runtime.classes
    labels = F.one_hot(runtime.victim_labels("train"), K).to(torch.get_default_dtype())
    roles = {"": "misinformer", EXPOSED: "exposed"} if config.exposed else {"": "misinformer"}
    learners = {
        prefix: new_learner(config.training, images, runtime, classes=K, seed=config.seed, role=role)
        for prefix, role in roles.items()
    }
    outliers = runtime.outliers() if config.exposed else None
    history = []
    if state:
        for prefix, learner in learners.items():
            learner.restore(tensors_of(state.tensors, prefix))
        history = list(state.history)

    def states() -> dict[str, Tensor]:
        return _prefixed({prefix: learner.state() for prefix, learner in learners.items()})

    for epoch in range(len(history), config.training.epochs):
        history.append({"epoch": epoch, "loss": learners[""].epoch(images, labels, epoch, misinforming)})
        if config.exposed:
            exposed = learners[EXPOSED]
            beside = exposed.endless(outliers, f"{epoch}, outliers") if outliers else None
            history[-1]["exposed_loss"] = exposed.epoch(images, labels, epoch, exposing, beside=beside)
        yield last_epoch(history, config.training.epochs, states)

    return Artifact(_prefixed({prefix: learner.weights() for prefix, learner in learners.items()}), {}, history)


def tensors_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors of one of the networks, without its prefix; none if there is no such network."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _prefixed(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for prefix, of in networks.items() for name, tensor in of.items()}
