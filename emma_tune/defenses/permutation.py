"""Control: part of every class goes to one other class, whichever it is."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix(classes: int, *, a: float, generator: torch.Generator) -> Tensor:
    """Draw `T = (1−a)I + aP`, (K, K), P a random permutation in one cycle, so that no class stays."""
    cycle = torch.randperm(classes, generator=generator)
    P = torch.zeros(classes, classes)
    P[cycle, cycle.roll(-1)] = 1
    return (1 - a) * torch.eye(classes) + a * P
