"""The victim with its defense as one module: images in, perturbed posteriors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.defenses.release import Release
from emma_tune.outputs.export.defended_point import DefendedPoint
from emma_tune.outputs.export.merging import answering
from emma_tune.stages.misinformer import EXPOSED, tensors_of
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.learner import restore_classifier


class Defense(nn.Module):
    """What turns p into p'.

    Args:
        name: of the defense.
        params: budget and settings of a baseline; gate and second step.
        T: (K, K), of a defense that is a matrix.
        guides: the further networks of a defense that has any, in evaluation mode.
    """

    matrix: Tensor | None

    def __init__(
        self,
        name: str,
        params: Mapping[str, float | str],
        *,
        T: Tensor | None = None,
        guides: Sequence[Classifier] = (),
    ) -> None:
        super().__init__()
        self.defense = name
        self.params = dict(params)
        self.guides = nn.ModuleList(guides)
        self.register_buffer("matrix", T)

    def forward(self, clean: Tensor, images: Tensor | None = None) -> Tensor:
        """Return p', (B, K), of p, (B, K), and of the images, which only further networks look at."""
        answers = self.released(clean, self.guidance(images))
        return answers.clone() if answers is clean else answers  # what is traced needs an operator

    def guidance(self, images: Tensor | None) -> Tensor | None:
        """Return the posteriors of the further networks, side by side, (B, K) each; None if there are none."""
        answers = [F.softmax(network(images), dim=1) for network in self.guides]
        return torch.cat(answers, dim=1) if answers else None

    def released(self, posteriors: Tensor, guidance: Tensor | None) -> Tensor:
        """Return p' of p, (B, K)."""
        return Release(self.defense, self.params, self.matrix)(posteriors, guidance=guidance)


class DefendedModel(nn.Module):
    """What a service runs: p never leaves it.

    Args:
        victim: images (B, C, h, w) uint8 to p, (B, K), in evaluation mode.
        defense: what is behind it.
    """

    def __init__(self, victim: nn.Module, defense: Defense) -> None:
        super().__init__()
        self.victim = victim
        self.defense = defense

    def forward(self, images: Tensor) -> Tensor:
        """Return p', (B, K) distributions, of images (B, C, h, w) uint8."""
        return self.defense(self.victim(images), images)  # type: ignore[no-any-return]


class Undefended(nn.Module):
    """A victim that is a network: its logits become p."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return p, (B, K)."""
        return F.softmax(self.classifier(images), dim=1)


class OnnxUndefended(nn.Module):
    """A victim that is an ONNX model, as `emma_tune.models.onnx_graph` makes it."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._answer = answering(content)

    def forward(self, images: Tensor) -> Tensor:
        """Return p, (B, K)."""
        return self._answer(images)


def defense_of(exported: DefendedPoint) -> Defense:
    """Build the defense of a point, on the CPU, with nothing to train."""
    study, found = exported.view.study, exported.artifacts
    second = found["misinformer"].tensors if "misinformer" in found else {}
    defense = Defense(
        study.versioned(exported.point.defense),
        exported.settings.params,
        T=exported.matrix,
        # trained on the victim's images
        guides=[
            _network(exported, study.misinformer.model, tensors)
            for tensors in filter(None, (second, tensors_of(second, EXPOSED)))
        ],
    )
    return defense.eval().requires_grad_(False)


def victim_of(exported: DefendedPoint) -> nn.Module | None:
    """Build the victim of a point, images to p; None if only its answers are known."""
    tensors, network = exported.artifacts["victim"].tensors, exported.view.study.victim.network
    if exported.onnx is not None:
        return OnnxUndefended(exported.onnx)
    if network is None:
        return None
    return Undefended(_network(exported, network, tensors)).eval().requires_grad_(False)


def _network(exported: DefendedPoint, model: str, tensors: Mapping[str, Tensor]) -> Classifier:
    name = exported.view.study.versioned(model)
    classifier = new_classifier(name, exported.queries("train"), classes=exported.classes, seed=0, role="victim")
    restore_classifier(classifier, tensors)  # weights and normalization are its own
    return classifier
