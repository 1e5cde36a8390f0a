"""The victim with its defense as one module: images in, perturbed posteriors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emma_tune.defenses import DEFENSES, emma, release
from emma_tune.outputs.export.defended_point import DefendedPoint
from emma_tune.stages.misinformer import EXPOSED, tensors_of
from emma_tune.training.classifier import Classifier, new_classifier
from emma_tune.training.learner import restore_classifier


class DefendedModel(nn.Module):
    """What a service runs: p never leaves it.

    Args:
        victim: in evaluation mode.
        defense: its name.
        params: budget and settings of a baseline.
        T: (K, K), of a defense that is a matrix.
        guides: the further networks of a defense that has any, in evaluation mode.
    """

    matrix: Tensor | None

    def __init__(
        self,
        victim: Classifier,
        defense: str,
        params: Mapping[str, float],
        *,
        T: Tensor | None = None,
        guides: Sequence[Classifier] = (),
    ) -> None:
        super().__init__()
        self.victim = victim
        self.defense = defense
        self.params = dict(params)
        self.guides = nn.ModuleList(guides)
        self.register_buffer("matrix", T)

    def forward(self, images: Tensor) -> Tensor:
        """Return p', (B, K) distributions, of images (B, C, h, w) uint8."""
        return self.released(self.clean(images), self.guidance(images))

    def clean(self, images: Tensor) -> Tensor:
        """Return p, (B, K)."""
        return F.softmax(self.victim(images), dim=1)

    def guidance(self, images: Tensor) -> Tensor | None:
        """Return the posteriors of the further networks, side by side, (B, K) each; None if there are none."""
        answers = [F.softmax(network(images), dim=1) for network in self.guides]
        return torch.cat(answers, dim=1) if answers else None

    def released(self, posteriors: Tensor, guidance: Tensor | None) -> Tensor:
        """Return p' of p, (B, K)."""
        if self.matrix is not None:
            defense = DEFENSES[self.defense]
            release_by = defense.release_of(self.params) if defense.learned else emma.release
            return release_by(posteriors, self.matrix)
        return release(self.defense, self.params, posteriors, guidance=guidance)


def defended_model(exported: DefendedPoint) -> DefendedModel:
    """Build the module of a point, on the CPU, with nothing to train."""
    study, found = exported.view.study, exported.artifacts
    second = found["misinformer"].tensors if "misinformer" in found else {}
    model = DefendedModel(
        _network(exported, study.victim.network or "", found["victim"].tensors),
        exported.point.defense,
        exported.settings.params,
        T=exported.matrix,
        # trained on the victim's images
        guides=[
            _network(exported, study.misinformer.model, tensors)
            for tensors in filter(None, (second, tensors_of(second, EXPOSED)))
        ],
    )
    return model.eval().requires_grad_(False)


def _network(exported: DefendedPoint, model: str, tensors: Mapping[str, Tensor]) -> Classifier:
    classifier = new_classifier(model, exported.queries("train"), classes=exported.classes, seed=0, role="victim")
    restore_classifier(classifier, tensors)  # weights and normalization are its own
    return classifier
