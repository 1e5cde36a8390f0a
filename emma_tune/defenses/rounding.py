"""Few decimals: an API that rounds its answers."""

from __future__ import annotations

from torch import Tensor

from emma_tune.defenses.simplex import normalized


def release(posteriors: Tensor, *, decimals: float) -> Tensor:
    """Round p to a number of decimals, renormalized, (N, K); the top class alone where nothing is left."""
    return normalized(posteriors.round(decimals=int(decimals)), posteriors)
