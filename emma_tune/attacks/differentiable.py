"""Attackers' targets as differentiable functions of T, so that T can be optimized against them.

Each takes the defense's release, clean posteriors p, (B, K), T, (K, K), and what looks up the clean posteriors of
other queries, (M, K), and returns the targets of a clone, (B, K). `hard` is not among them: the gradient of a top
class is zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emma_tune.attacks.inverse import explains, undo

ReleaseByMatrix = Callable[[Tensor, Tensor], Tensor]
Others = Callable[[], Tensor]

BANDWIDTH = 0.1
"""Width h of the kernel of `bayes`, as a share of the root mean square distance between answers."""

FINEST = 1e-3
"""The smallest h, far above the rounding errors of answers in single precision."""


def soft(release: ReleaseByMatrix, posteriors: Tensor, T: Tensor, others: Others) -> Tensor:
    """Return p', the answers as they are."""
    return release(posteriors, T)


def inverse(release: ReleaseByMatrix, posteriors: Tensor, T: Tensor, others: Others) -> Tensor:
    """Return p' undone by the pseudo-inverse of T where T explains it, as the attacker `inverse` does.

    The others are answers that a gate lets pass. For a T of full rank that is p, whose gradient in T is zero.
    """
    answers = release(posteriors, T)
    undone = undo(answers, T, low_rank=True)
    again, as_they_are = release(undone, T), release(answers, T)
    acts = (again != undone).any(dim=1)  # what a gate lets pass is released as it is
    by_matrix = (again - answers).abs().sum(dim=1)
    explained = explains(by_matrix, (as_they_are - answers).abs().sum(dim=1), acts)
    return torch.where(explained[:, None], undone, answers)


def bayes(release: ReleaseByMatrix, posteriors: Tensor, T: Tensor, others: Others) -> Tensor:
    """Return the posterior mean of p given p', by a kernel over the answers to other queries (Nadaraya 1964).

    `Σ_j w_ij p_j / Σ_j w_ij` with `w_ij = exp(−‖p'_i − p'_j‖² / 2h²)`, and h in proportion to the spread of the
    answers, so that making all of them more alike hides nothing.
    """
    table = others()
    answers, known = release(posteriors, T), release(table, T)
    squares = answers.square().sum(dim=1)[:, None] + known.square().sum(dim=1)
    distances = (squares - 2 * answers @ known.T).clamp(min=0)  # squared
    h_squared = (BANDWIDTH**2 * distances.mean()).clamp(min=FINEST**2)
    return torch.softmax(-distances / (2 * h_squared), dim=1) @ table
