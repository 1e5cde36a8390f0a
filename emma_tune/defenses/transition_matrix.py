"""EMMA's release: one row-stochastic matrix T between the classifier and the world, p' = pT."""

from __future__ import annotations

from torch import Tensor

LEAST = 1e-12
"""The smallest entry of T and of p' before they are normalised."""


def perturb(posteriors: Tensor, T: Tensor) -> Tensor:
    """Released answers: `s = normalise(clamp(pT, 1e-12, 1))`.

    Args:
        posteriors: p, (N, K) distributions.
        T: (K, K) row-stochastic.

    Returns:
        (N, K) distributions.
    """
    mixed = (posteriors @ T).clamp(LEAST, 1)
    return mixed / mixed.sum(dim=1, keepdim=True)


def project_rows(T: Tensor) -> Tensor:
    """Back to a transition matrix: positive entries, rows of sum 1.

    The reference's projection, which is not the Euclidean one: clamp, then divide each row by its sum.

    Args:
        T: (K, K).

    Returns:
        (K, K) row-stochastic.
    """
    positive = T.clamp(min=LEAST)
    return positive / positive.sum(dim=1, keepdim=True)
