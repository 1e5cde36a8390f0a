"""GRAD², gradient redirection (Mazeika et al. 2022): steer the attacker's gradient, along the all-ones vector.

The paper's form, with the gradient of all weights of the trained surrogate.
"""

from __future__ import annotations

import torch
from torch import Tensor


def release(posteriors: Tensor, *, epsilon: float, guidance: Tensor) -> Tensor:
    """Release the p' on the simplex that maximizes `⟨Gᵀp', 1⟩` with ‖p' − p‖₁ ≤ ε, (N, K).

    The objective is linear in p' with coefficients G1. The best is greedy: ε/2 of mass goes to the class of the
    largest coefficient, taken from those of the smallest.

    Args:
        posteriors: p, (N, K).
        epsilon: in [0, 2].
        guidance: G1, (N, K): of each class the sum over the weights of the gradient of its log-probability.
    """
    ascending = guidance.argsort(dim=1, stable=True)
    mass = posteriors.gather(1, ascending)
    before = mass.cumsum(dim=1) - mass
    room = 1 - mass[:, -1:]  # what the best class can still get
    moved = room.clamp(max=epsilon / 2)
    taken = (moved - before).clamp(min=0).minimum(mass)
    taken[:, -1] = 0
    shifted = mass - taken
    shifted[:, -1] += taken.sum(dim=1)
    return torch.empty_like(posteriors).scatter(1, ascending, shifted)
