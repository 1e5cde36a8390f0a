"""Control: a random row-stochastic matrix, to compare with a learned one of the same trace."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix(classes: int, *, a: float, generator: torch.Generator) -> Tensor:
    """Draw T of trace (1−a)K, (K, K): 1−a on the diagonal, the rest of each row uniform on the simplex.

    A point uniform on the simplex is independent exponential numbers divided by their sum.
    """
    rest = torch.empty(classes, classes).exponential_(generator=generator).fill_diagonal_(0)
    return (1 - a) * torch.eye(classes) + a * rest / rest.sum(dim=1, keepdim=True)
