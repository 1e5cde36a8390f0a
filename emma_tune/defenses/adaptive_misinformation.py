"""Adaptive misinformation (Kariyappa & Qureshi 2020): queries far from the victim’s data are answered wrongly.

By default the study's victim tells them by its confidence, as in the paper's formula. In the published code the
answering network is trained with outlier exposure (Hendrycks et al. 2019), to be unsure of other images. In that
form (`exposure`) a network trained in that way stands in for the victim: its posteriors are p. The network that is
wrong learns from the victim's images alone, as in ModelGuard's code (Tang et al. 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def misinforming(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of the network behind p_mis: `−log(1 − softmax(f(x))_y)`, a scalar.

    Args:
        logits: f(x), (B, K).
        labels: y, (B, K) one-hot.
    """
    others = logits.masked_fill(labels.bool(), -torch.inf)
    return (logits.logsumexp(dim=1) - others.logsumexp(dim=1)).mean()


def exposing(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of a network under outlier exposure, a scalar.

    Cross-entropy to the labels of known images, and to the uniform distribution on the others, weighed equally.

    Args:
        logits: f(x), (B + M, K), of B known images and then of M others.
        labels: y, (B, K) one-hot.
    """
    B = len(labels)
    return F.cross_entropy(logits[:B], labels) - F.log_softmax(logits[B:], dim=1).mean()


def release(posteriors: Tensor, *, tau: float, nu: float, guidance: Tensor) -> Tensor:
    """Release `(1−α)p + αp_mis`, `α = 1/(1 + exp(ν(max p − τ)))`, (N, K).

    Args:
        posteriors: p, (N, K).
        tau: τ in [0, 1]; answers less confident than that are misleading.
        nu: ν > 0, the sharpness of that boundary.
        guidance: p_mis, (N, K), of a network trained to be wrong; under outlier exposure (N, 2K), with the
            posteriors behind it that take the place of p.
    """
    guidance, *exposed = guidance.split(posteriors.shape[1], dim=1)
    posteriors = exposed[0] if exposed else posteriors
    confidence = posteriors.max(dim=1, keepdim=True).values
    alpha = torch.sigmoid(nu * (tau - confidence))
    return (1 - alpha) * posteriors + alpha * guidance
