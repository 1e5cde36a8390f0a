"""The attacker who knows T inverts it: p' = pT is linear, and injective where T has full rank.

Under a gate some answers are p itself. Which ones they are is not said, but whoever knows T and the gate can try
both: an answer went through T if what T⁻¹ makes of it is released as that very answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.lesson import KnownDefense, Lesson, Loot

SAME = 1e-4
"""Largest distance, in L1, between an answer and what is released for its clean posteriors: rounding errors."""


def learn(loot: Loot) -> Lesson:
    """Return targets `undo(p', T)`, (N, K); under a known gate only where it let T act, else p'.

    Under a gate `undone` is the share of answers that T is taken to have acted on.
    """
    assert loot.matrix is not None, "planned against matrices only"
    targets = undo(loot.answers, loot.matrix)
    if loot.release is None:
        return Lesson(targets)
    acted = went_through(loot.answers, targets, loot.release)
    metrics = {"undone": float(acted.double().mean())}
    return Lesson(torch.where(acted[:, None], targets, loot.answers), metrics=metrics)


def undo(answers: Tensor, T: Tensor) -> Tensor:
    """Compute `p'T⁻¹`, negative entries cut off, renormalized; by the pseudo-inverse where T has no inverse.

    Singular values below single precision count as zero; their inverses would amplify noise.

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


def went_through(answers: Tensor, undone: Tensor, release: KnownDefense) -> Tensor:
    """Tell which answers went through T, (N,) bool.

    An answer went through T if the gate lets T act on its inverse, and releasing that inverse reproduces the
    answer (within `SAME`, or better than releasing the answer itself). If both do, T is assumed: few distributions
    are answers of T, so that an answer that it did not give is hardly ever one of them.

    Args:
        answers: p', (N, K).
        undone: `undo(p', T)`, (N, K).
        release: T, its gate, and a second step.
    """
    by_matrix, as_they_are = ((release(clean) - answers).abs().sum(dim=1) for clean in (undone, answers))
    return release.acts(undone) & ((by_matrix <= SAME) | (by_matrix < as_they_are))
