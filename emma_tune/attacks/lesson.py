"""Between the answers and the clone: what an attacker got, and what its clone is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and targets (B, K) → a scalar to minimize."""


class KnownDefense(Protocol):
    """What is known of a defense (`emma_tune.defenses.release`): from p to p', row by row."""

    @property
    def matrix(self) -> Tensor | None:
        """T, (K, K), of a defense that is one."""

    def __call__(
        self, posteriors: Tensor, *, seeds: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return p', (N, K), of p, (N, K)."""

    def acts(self, posteriors: Tensor) -> Tensor:
        """Tell for which p, (N, K), the defense acts, (N,) bool; everywhere without a gate."""


@dataclass(frozen=True)
class Loot:
    """The answers that an attacker got.

    Attributes:
        answers: p' of its queries, (N, K).
        labeled_answers: p' of a few labeled images of its own, (M, K); none (M = 0) where it did not ask.
        labels: of those, (M,) int64.
        matrix: T, (K, K), of a defense that is one; only those who know it may look.
        release: the defense as far as the attacker knows it; None if it knows nothing. For `inverse`, `forward`
            and `selective` it is set only if a gate is known.
        guidance: what the defense found out about each query, (N, G), of one that is guided and known. MAD's is
            y*, which depends on p and cannot be computed from answers: this attacker is slightly too strong.
        low_rank: whether T was learned as a product of two factors, of a rank below K.
        seed: of what the attacker draws.
        confidence: smallest confidence (largest entry) of an answer that `selective` trains on.
    """

    answers: Tensor
    labeled_answers: Tensor
    labels: Tensor
    matrix: Tensor | None = None
    release: KnownDefense | None = None
    guidance: Tensor | None = None
    low_rank: bool = False
    seed: int = 0
    confidence: float = 0.0


@dataclass(frozen=True)
class Lesson:
    """What a clone is trained on.

    Attributes:
        targets: of each query, (N, K) distributions.
        loss: what is minimized.
        metrics: the attack's own metrics.
        rows: the queries that it is trained on, (M,) int64, ascending; all if None.
    """

    targets: Tensor
    loss: Loss = F.cross_entropy
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: Tensor | None = None
