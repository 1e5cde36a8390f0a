"""Return to the simplex of distributions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normalized(scores: Tensor, posteriors: Tensor) -> Tensor:
    """Divide non-negative scores by their sums; where all are zero, the top class alone.

    Args:
        scores: (N, K), ≥ 0.
        posteriors: p, (N, K), whose top class is meant.

    Returns:
        (N, K) distributions.
    """
    total = scores.sum(dim=1, keepdim=True)
    top = F.one_hot(posteriors.argmax(dim=1), posteriors.shape[1]).to(posteriors.dtype)
    return torch.where(total > 0, scores / total.clamp(min=torch.finfo(scores.dtype).tiny), top)


def step_within(posteriors: Tensor, goal: Tensor, epsilon: float) -> Tensor:
    """Step from p towards a goal, as far as ‖p' − p‖₁ ≤ ε allows: `(1−α)p + αy`, `α = min(1, ε/‖y − p‖₁)`.

    Args:
        posteriors: p, (N, K).
        goal: y, (N, K) distributions.
        epsilon: in [0, 2].

    Returns:
        (N, K) distributions.
    """
    distance = (goal - posteriors).abs().sum(dim=1, keepdim=True)
    alpha = (epsilon / distance.clamp(min=torch.finfo(distance.dtype).tiny)).clamp(max=1)
    return (1 - alpha) * posteriors + alpha * goal
