"""Choose queries that cover the pool: greedy k-center on the clone's answers (Sener & Savarese 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.choosing.candidates import Candidates

BLOCK = 256
"""Candidates that are compared with all centers at a time: 100 MB with 50,000 centers."""


def choose(candidates: Candidates, count: int) -> Tensor:
    """Return the candidates that cover the others, beside the queries asked already, (count,) int64."""
    return farthest(candidates.posteriors(), candidates.asked(), count)


def farthest(posteriors: Tensor, centers: Tensor, count: int) -> Tensor:
    """Return rows that are chosen one after the other, each the farthest (L2) from all centers so far.

    Args:
        posteriors: of a clone to queries not yet asked, (N, K).
        centers: of the clone to those asked already, (M, K), M ≥ 1; each row that is chosen becomes one.
        count: how many rows, at most N.

    Returns:
        (count,) int64; of equally far rows the first one not yet chosen.
    """
    points = posteriors.double()
    known = centers.double()
    nearest = torch.cat([torch.cdist(block, known).amin(dim=1) for block in points.split(BLOCK)])
    chosen = []
    for _ in range(count):
        row = int(nearest.argmax())
        chosen.append(row)
        nearest = torch.minimum(nearest, (points - points[row]).norm(dim=1))
        nearest[row] = -1.0  # below all distances, so that equal rows are chosen, too
    return torch.tensor(chosen, dtype=torch.int64)
