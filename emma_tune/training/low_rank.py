"""T as it is learned: any transition matrix, or one of rank r < K, `T = AB` with A (K, r) and B (r, K).

Both factors are row-stochastic, as softmax(A) and softmax(B) would be. Steps are taken on the factors themselves
and projected as those of T are, not on logits: a softmax that begins near a vertex of the simplex hardly moves.
With digits, letters, λ 0.03 and lr_gamma 0.3, trace(T) of two factors of rank ten went from 10 to 2.4 in 13
epochs, that of T alone to 3.6; of logits it stayed at 8.3, where they began, and with a hundred times the step at
8.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.defenses.emma import project_rows

Factors = tuple[Tensor, ...]
"""T alone, or A and B."""


def first_factors(classes: int, rank: int | None) -> Factors:
    """Return the factors with which the optimization begins: the identity, or as near to it as the rank allows.

    Of rank r < K, class k is in group k mod r, and released as any class of its group: `A[k, k mod r] = 1`, and
    row g of B is uniform over group g. So T is uniform for r = 1.

    Args:
        classes: K.
        rank: r, in [1, K]; None, or K, for any T.
    """
    if rank is None or rank == classes:
        return (torch.eye(classes),)
    groups = F.one_hot(torch.arange(classes) % rank, rank).to(torch.get_default_dtype())
    return groups, groups.T / groups.sum(dim=0)[:, None]


def product(factors: Sequence[Tensor]) -> Tensor:
    """Multiply factors: T, (K, K)."""
    return reduce(torch.matmul, factors)


def gradients(factors: Factors, gradient: Tensor) -> Factors:
    """Carry `∇_T`, (K, K), on to the factors by the chain rule: `∇_A = ∇_T Bᵀ`, `∇_B = Aᵀ ∇_T`."""
    leaves = [factor.detach().requires_grad_() for factor in factors]
    return torch.autograd.grad(product(leaves), leaves, gradient)


def descend(factors: Factors, gradient: Tensor, lr_gamma: float) -> Factors:
    """Take a step of projected gradient descent on each factor.

    Two factors share the step: at A = B = 1, where the gradient of either is ∇_T, T moves as if it were alone, but
    for terms of second order. None of their entries moves by more than 1: the gradient of L_align has no bound
    where an entry of T is near 0, and at low rank one such entry soon stands for a whole class.

    Args:
        factors: row-stochastic.
        gradient: ∇_T of what is minimized, (K, K).
        lr_gamma: step size of T, > 0.

    Returns:
        Row-stochastic factors.
    """
    slopes = gradients(factors, gradient)
    if len(factors) == 1:
        return (project_rows(factors[0] - lr_gamma * slopes[0]),)
    steps = ((lr_gamma / len(factors) * slope).clamp(-1, 1) for slope in slopes)
    return tuple(project_rows(of - step) for of, step in zip(factors, steps, strict=True))
