"""Normal noise on every probability."""

from __future__ import annotations

from torch import Tensor

from emma_tune.defenses.noise import normal
from emma_tune.defenses.simplex import normalized


def release(posteriors: Tensor, *, sigma: float, seeds: Tensor) -> Tensor:
    """Release `max(p + N(0, σ²), 0)`, renormalized, (N, K); the top class alone where nothing is left.

    Args:
        posteriors: p, (N, K).
        sigma: σ ≥ 0.
        seeds: of each query, (N,) int64.
    """
    noise = normal(seeds, posteriors.shape[1]).to(posteriors)
    return normalized((posteriors + sigma * noise).clamp(min=0), posteriors)
