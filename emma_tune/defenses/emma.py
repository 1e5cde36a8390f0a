"""EMMA (CVPR 2024): one row-stochastic matrix T between the classifier and the world, p' = pT.

T minimizes `L_out = λ L_align(T) + (1−λ) L_mis(θ'(T))`, where θ' is a surrogate clone after one step on p'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.objective import Objective

LEAST = 1e-12
"""The smallest entry of T and of p' before they are normalized."""


def release(posteriors: Tensor, T: Tensor) -> Tensor:
    """Perturb posteriors by a transition matrix: `s = normalize(clamp(pT, 1e-12, 1))`.

    Args:
        posteriors: p, (N, K) distributions.
        T: (K, K) row-stochastic.

    Returns:
        (N, K) distributions.
    """
    mixed = (posteriors @ T).clamp(LEAST, 1)
    return mixed / mixed.sum(dim=1, keepdim=True)


def project_rows(T: Tensor) -> Tensor:
    """Project onto transition matrices: positive entries, rows of sum 1.

    The reference's projection, which is not the Euclidean one: clamp, then divide each row by its sum.

    Args:
        T: (K, K).

    Returns:
        (K, K) row-stochastic.
    """
    positive = T.clamp(min=LEAST)
    return positive / positive.sum(dim=1, keepdim=True)


def align_loss(posteriors: Tensor, T: Tensor) -> Tensor:
    """Stay useful: `L_align = −mean_i log (p_i T)_ŷi`, with `ŷ = argmax p`.

    Args:
        posteriors: p, (B, K).
        T: (K, K).
    """
    top = posteriors.argmax(dim=1, keepdim=True)
    return -(posteriors @ T).gather(1, top).log().mean()


def mislead_loss(logits: Tensor, posteriors: Tensor) -> Tensor:
    """Mislead: `L_mis = −mean_i log(1.000001 − softmax(f(x_i))_ŷi)`, with `ŷ = argmax p`.

    Args:
        logits: f(x), (B, K).
        posteriors: p, (B, K).
    """
    top = posteriors.argmax(dim=1, keepdim=True)
    return -(1.000001 - F.softmax(logits, dim=1).gather(1, top)).log().mean()


def objective(release: Callable[[Tensor, Tensor], Tensor], params: Mapping[str, float]) -> Objective:
    """Weigh staying useful against misleading: `L_out = λ L_align + (1−λ) L_mis`, with λ = params["lambda"]."""
    return Objective(release, params["lambda"], align_loss, mislead_loss)
