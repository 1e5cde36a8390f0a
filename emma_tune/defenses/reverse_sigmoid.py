"""Reverse sigmoid (Lee et al. 2018): a perturbation that is not monotonic, so that it cannot simply be undone.

This is the paper's form, usually with γ 0.2. The code of Mazeika et al. (2022) has γ 0.1, and leaves probabilities
above ½ as they are; that form is not here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.defenses.simplex import normalized


def release(posteriors: Tensor, *, beta: float, gamma: float) -> Tensor:
    """Release `p − β(σ(γ·logit p) − ½)`, negative entries cut off, renormalized, (N, K).

    Args:
        posteriors: p, (N, K).
        beta: β ≥ 0, the size of the perturbation.
        gamma: γ > 0, its steepness.
    """
    logit = torch.logit(posteriors.double(), eps=1e-12)
    perturbed = posteriors - beta * (torch.sigmoid(gamma * logit) - 0.5)
    return normalized(perturbed.clamp(min=0).to(posteriors.dtype), posteriors)
