"""The k largest posteriors only: what an API that lists its best guesses gives away."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.defenses.simplex import normalized


def release(posteriors: Tensor, *, k: float) -> Tensor:
    """p with all but its k largest entries set to zero, renormalized, (N, K); the first of equal classes stay."""
    ranked = posteriors.argsort(dim=1, descending=True, stable=True)[:, : int(k)]
    kept = torch.zeros_like(posteriors).scatter(1, ranked, 1)
    return posteriors if k >= posteriors.shape[1] else normalized(posteriors * kept, posteriors)
