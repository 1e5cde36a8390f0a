"""The k largest posteriors only: an API that lists its best guesses."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.defenses.simplex import normalized


def release(posteriors: Tensor, *, k: float) -> Tensor:
    """Release the k largest entries of p, renormalized, (N, K); of equal classes the first."""
    ranked = posteriors.argsort(dim=1, descending=True, stable=True)[:, : int(k)]
    kept = torch.zeros_like(posteriors).scatter(1, ranked, 1)
    return posteriors if k >= posteriors.shape[1] else normalized(posteriors * kept, posteriors)
