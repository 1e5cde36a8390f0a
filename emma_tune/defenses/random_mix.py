"""Some mass to a random wrong class (the random baseline of Orekondy et al. 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.noise import uniform


def release(posteriors: Tensor, *, epsilon: float, seeds: Tensor) -> Tensor:
    """Release `(1−ε/2)p + (ε/2)e_j` with j any class but the top one, each as likely, (N, K).

    Args:
        posteriors: p, (N, K).
        epsilon: in [0, 2]; ‖p' − p‖₁ = ε/2·‖e_j − p‖₁ ≤ ε.
        seeds: of each query, (N,) int64.
    """
    K = posteriors.shape[1]
    step = 1 + (uniform(seeds) * (K - 1)).long().to(posteriors.device)  # 1 … K−1 classes on from the top one
    other = (posteriors.argmax(dim=1) + step) % K
    return (1 - epsilon / 2) * posteriors + epsilon / 2 * F.one_hot(other, K).to(posteriors.dtype)
