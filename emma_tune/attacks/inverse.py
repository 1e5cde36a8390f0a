"""The attacker who knows T inverts it: p' = pT is linear, and injective where T has full rank.

Behind a gate some answers are p itself, and nothing marks them. An attacker that knows T and the gate tries both
explanations: an answer went through T if releasing its inverse gives that very answer.
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
    targets = undo(loot.answers, loot.matrix, low_rank=loot.low_rank)
    if loot.release is None:
        return Lesson(targets)
    acted = went_through(loot.answers, targets, loot.release)
    metrics = {"undone": float(acted.double().mean())}
    return Lesson(torch.where(acted[:, None], targets, loot.answers), metrics=metrics)


def undo(answers: Tensor, T: Tensor, *, low_rank: bool = False) -> Tensor:
    """Compute `p'T⁻¹`, negative entries cut off, renormalized; by the pseudo-inverse where T has no inverse.

    Args:
        answers: p', (N, K).
        T: (K, K).
        low_rank: as `pseudo_inverse` takes it.

    Returns:
        (N, K) distributions.
    """
    clean: Tensor = (answers.double() @ pseudo_inverse(T, low_rank=low_rank)).clamp(min=1e-12)
    return (clean / clean.sum(dim=1, keepdim=True)).to(answers.dtype)


def pseudo_inverse(T: Tensor, *, low_rank: bool = False) -> Tensor:
    """Invert T in double precision, since it may be close to singular, (K, K).

    Args:
        T: (K, K).
        low_rank: its rank is below K, but for rounding errors. Singular values of the size of rounding errors of
            single numbers then count as zero: their inverses would be noise.
    """
    negligible = len(T) * torch.finfo(torch.float32).eps if low_rank else None
    inverted: Tensor = torch.linalg.pinv(T.double(), rtol=negligible)
    return inverted


def went_through(answers: Tensor, undone: Tensor, release: KnownDefense) -> Tensor:
    """Tell which answers went through T, (N,) bool, by the rule of `explains`.

    Args:
        answers: p', (N, K).
        undone: `undo(p', T)`, (N, K).
        release: T, its gate, and a second step.
    """
    by_matrix, as_they_are = ((release(clean) - answers).abs().sum(dim=1) for clean in (undone, answers))
    return explains(by_matrix, as_they_are, release.acts(undone))


def explains(by_matrix: Tensor, as_they_are: Tensor, acts: Tensor) -> Tensor:
    """Tell which answers T explains, (N,) bool.

    T explains an answer if the gate lets T act on its inverse, and releasing that inverse reproduces the answer
    (within `SAME`, or better than releasing the answer itself). If both reproduce it, T is assumed: few
    distributions are answers of T, so that an answer that it did not give is hardly ever one of them.

    Args:
        by_matrix: distance in L1 of each answer, (N,), from what is released for `undo(p', T)`.
        as_they_are: its distance from what is released for p' itself, (N,).
        acts: where the gate lets T act on `undo(p', T)`, (N,).
    """
    return acts & ((by_matrix <= SAME) | (by_matrix < as_they_are))
