"""Between the answers and the clone: what an attacker got, and what its clone is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and targets (B, K) → a scalar to minimize."""


@dataclass(frozen=True)
class Loot:
    """The answers that an attacker got.

    Attributes:
        answers: p' of its queries, (N, K).
        labeled_answers: p' of a few labeled images of its own, (M, K); none (M = 0) where it did not ask.
        labels: of those, (M,) int64.
        matrix: T, (K, K), of a defense that is one; only those who know it may look.
    """

    answers: Tensor
    labeled_answers: Tensor
    labels: Tensor
    matrix: Tensor | None = None


@dataclass(frozen=True)
class Lesson:
    """What a clone is trained on.

    Attributes:
        targets: of each query, (N, K) distributions.
        loss: what is minimized.
        metrics: the attack's own metrics.
    """

    targets: Tensor
    loss: Loss = F.cross_entropy
    metrics: Mapping[str, float] = field(default_factory=dict)
