"""Noise that belongs to a query: asking twice gives the same answer."""

from __future__ import annotations

import torch
from torch import Tensor


def normal(seeds: Tensor, count: int) -> Tensor:
    """Draw `count` standard normal numbers a query, each row from its own seed.

    Args:
        seeds: (N,) int64.
        count: of numbers.

    Returns:
        (N, count) float64.
    """
    generator = torch.Generator()
    rows = [torch.randn(count, generator=generator.manual_seed(s), dtype=torch.float64) for s in seeds.tolist()]
    return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.float64)


def uniform(seeds: Tensor) -> Tensor:
    """Draw a number in [0, 1) a query, (N,) float64; `seeds` (N,) int64."""
    generator = torch.Generator()
    draws = [torch.rand((), generator=generator.manual_seed(s), dtype=torch.float64) for s in seeds.tolist()]
    return torch.stack(draws) if draws else torch.empty(0, dtype=torch.float64)
