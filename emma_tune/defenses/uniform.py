"""Control: the same blur for every class. Whatever it does for a defense, nothing was learned."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix(classes: int, *, a: float, generator: torch.Generator) -> Tensor:
    """Return `T = (1−a)I + (a/K)11ᵀ`, (K, K); nothing is drawn."""
    return (1 - a) * torch.eye(classes) + a / classes
