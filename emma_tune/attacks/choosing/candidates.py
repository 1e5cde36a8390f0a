"""What a choice of queries is based on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Queries that were not asked yet, as a clone sees them. Each function computes what it returns.

    Attributes:
        posteriors: of the clone to these queries, (N, K).
        asked: of the clone to the queries asked so far, (M, K).
        logits: of the clone, differentiable: (B, C, h, w) in [0, 1] → (B, K).
        pixels: of these queries, in batches (B, C, h, w) in [0, 1].
    """

    posteriors: Callable[[], Tensor]
    asked: Callable[[], Tensor]
    logits: Callable[[Tensor], Tensor]
    pixels: Callable[[], Iterator[Tensor]]
