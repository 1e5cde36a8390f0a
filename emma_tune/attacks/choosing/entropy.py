"""Choose queries by uncertainty: those for which the clone's answers have the highest entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.choosing.candidates import Candidates


def choose(candidates: Candidates, count: int) -> Tensor:
    """Return the candidates whose posteriors have the highest entropy, (count,) int64."""
    return most_uncertain(candidates.posteriors(), count)


def most_uncertain(posteriors: Tensor, count: int) -> Tensor:
    """Return the rows of the highest entropy `−Σ_k p_k log p_k`, highest first, of equal ones the first.

    Args:
        posteriors: of a clone, (N, K).
        count: how many rows, at most N.

    Returns:
        (count,) int64.
    """
    entropy: Tensor = torch.special.entr(posteriors.double()).sum(dim=1)
    return entropy.argsort(descending=True, stable=True)[:count]
