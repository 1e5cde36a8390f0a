"""Adaptive misinformation (Kariyappa & Qureshi 2020): queries far from the victim’s data are answered wrongly."""

from __future__ import annotations

import torch
from torch import Tensor


def misinforming(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of the network behind p_mis: `−log(1 − softmax(f(x))_y)`, a scalar.

    Args:
        logits: f(x), (B, K).
        labels: y, (B, K) one-hot.
    """
    others = logits.masked_fill(labels.bool(), -torch.inf)
    return (logits.logsumexp(dim=1) - others.logsumexp(dim=1)).mean()


def release(posteriors: Tensor, *, tau: float, nu: float, guidance: Tensor) -> Tensor:
    """Release `(1−α)p + αp_mis`, `α = 1/(1 + exp(ν(max p − τ)))`, (N, K).

    Args:
        posteriors: p, (N, K).
        tau: τ in [0, 1]; answers less confident than that are misleading.
        nu: ν > 0, the sharpness of that boundary.
        guidance: p_mis, (N, K), of a network trained to be wrong.
    """
    confidence = posteriors.max(dim=1, keepdim=True).values
    alpha = torch.sigmoid(nu * (tau - confidence))
    return (1 - alpha) * posteriors + alpha * guidance
