"""ModelGuard-W (Tang et al. 2024): as much wrong information as the budget allows, the top label kept.

For each answer the linear program

    minimize Σ_i q_i log p_i   with q on the simplex, ‖q − p‖₁ ≤ ε, q_t ≥ q_i for t = argmax p.

With q_t = τ given, what is best is greedy: mass goes from the likeliest classes to the least likely ones, each of
which can take τ. The optimum as a function of τ is convex, so τ is found by golden sections.

This is the paper's program. Its authors' code has log(p_i + 1e-6) in place of log p_i (`floor`), and keeps the top
class by a margin of 1e-4; here a top class that is level with another moves back towards p, whatever the floor.
"""

from __future__ import annotations

import torch
from torch import Tensor

SECTIONS = 45
"""Each 0.618 of the one before: the last is shorter than 1e-9."""

GOLDEN = (5**0.5 - 1) / 2


def release(posteriors: Tensor, *, epsilon: float, floor: float = 0.0) -> Tensor:
    """Release the solution of the linear program, (N, K).

    Args:
        posteriors: p, (N, K).
        epsilon: in [0, 2].
        floor: added to p under the logarithm, ≥ 0.
    """
    order = posteriors.argsort(dim=1, descending=True, stable=True)
    ranked = posteriors.double().gather(1, order)
    ranked = ranked / ranked.sum(dim=1, keepdim=True)
    budget = epsilon / 2  # mass that may be moved
    cost = (ranked.clamp(min=1e-12) + floor).log()

    def value(top: Tensor) -> Tensor:
        return (cost * _best(ranked, top, budget)).sum(dim=1, keepdim=True)

    low, high = _smallest_top(ranked, budget), (ranked[:, :1] + budget).clamp(max=1)
    for _ in range(SECTIONS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        lower = value(left) <= value(right)
        low, high = torch.where(lower, low, left), torch.where(lower, right, high)
    best = _best(ranked, (low + high) / 2, budget)
    return _top_kept(torch.empty_like(best).scatter(1, order, best), posteriors)


def _smallest_top(ranked: Tensor, budget: float) -> Tensor:
    """Find the least τ ≥ 1/K that all classes can be cut to by moving `budget`, (N, 1); by bisection."""
    low, high = torch.full_like(ranked[:, :1], 1 / ranked.shape[1]), ranked[:, :1].clone()
    for _ in range(SECTIONS):
        middle = (low + high) / 2
        enough = (ranked - middle).clamp(min=0).sum(dim=1, keepdim=True) <= budget
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high


def _best(ranked: Tensor, top: Tensor, budget: float) -> Tensor:
    """Find the best q of a given top probability.

    Args:
        ranked: p, likeliest class first, (N, K).
        top: τ, (N, 1).
        budget: mass that may be moved.
    """
    rest = ranked[:, 1:]
    # without a budget: the least likely classes full, the likelier ones empty
    filled = (1 - top - top * _below(torch.ones_like(rest))).clamp(min=0).minimum(top)
    free = torch.cat([top, filled], dim=1)
    # with it: what must be moved for τ, then from the likeliest down and from the least likely up
    forced = (ranked[:, :1] - top).clamp(min=0) + (rest - top).clamp(min=0).sum(dim=1, keepdim=True)
    capped = rest.minimum(top)
    taken = (budget - forced - _above(capped)).clamp(min=0).minimum(capped)
    space = (top - rest).clamp(min=0)
    given = (budget - (top - ranked[:, :1]).clamp(min=0) - _below(space)).clamp(min=0).minimum(space)
    bound = torch.cat([top, capped - taken + given], dim=1)
    unbound = (ranked - free).clamp(min=0).sum(dim=1, keepdim=True) <= budget
    return torch.where(unbound, free, bound)


def _above(amounts: Tensor) -> Tensor:
    """Sum over all likelier classes, (N, K−1)."""
    return amounts.cumsum(dim=1) - amounts


def _below(amounts: Tensor) -> Tensor:
    """Sum over all less likely classes, (N, K−1)."""
    return amounts.flip(1).cumsum(dim=1).flip(1) - amounts


def _top_kept(answers: Tensor, posteriors: Tensor) -> Tensor:
    """Move back towards p where the top class is level with another, until it is the first.

    Between two distributions that keep the budget everything keeps it.
    """
    kept = answers.to(posteriors.dtype)
    for back in (1e-3, 3e-2, 1):  # p itself has its own top class
        first = kept.argmax(dim=1) == posteriors.argmax(dim=1)
        nearer = (1 - back) * answers + back * posteriors
        kept = torch.where(first[:, None], kept, nearer.to(posteriors.dtype))
    return kept
