"""The attacker who knows T inverts it: p' = pT is linear, and injective where T has full rank."""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets `undo(p', T)`, (N, K)."""
    assert loot.matrix is not None, "planned against matrices only"
    return Lesson(undo(loot.answers, loot.matrix))


def undo(answers: Tensor, T: Tensor) -> Tensor:
    """Compute `p'T⁻¹`, negative entries cut off, renormalized; by the pseudo-inverse where T has no inverse.

    Singular values that are rounding errors of single numbers count as zero: their inverses would be noise.

    Args:
        answers: p', (N, K).
        T: (K, K).

    Returns:
        (N, K) distributions.
    """
    # in double precision: T may be close to singular
    negligible = len(T) * torch.finfo(torch.float32).eps
    clean: Tensor = (answers.double() @ torch.linalg.pinv(T.double(), rtol=negligible)).clamp(min=1e-12)
    return (clean / clean.sum(dim=1, keepdim=True)).to(answers.dtype)
