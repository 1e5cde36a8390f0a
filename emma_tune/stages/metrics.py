"""Measures of answers and of clones. Arrays are NumPy's; rates and accuracies lie in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Answers = NDArray[np.floating]  # (N, K) distributions
Labels = NDArray[np.integer]  # (N,)


def all_finite(where: str, figures: dict[str, float]) -> dict[str, float]:
    """Return the figures if all of them are finite.

    Raises:
        FloatingPointError: naming `where` and the figure that is not finite.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{where}: expected a finite {name}, found {value}")
    return figures


def accuracy(answers: Answers, labels: Labels) -> float:
    """Compute the share of samples whose top class is the label."""
    return float(np.mean(answers.argmax(axis=1) == labels))


def agreement(answers: Answers, other: Answers) -> float:
    """Compute the share of samples with the same top class in both (fidelity of a clone)."""
    return float(np.mean(answers.argmax(axis=1) == other.argmax(axis=1)))


def flip_rate(released: Answers, clean: Answers) -> float:
    """Compute the share of samples with `argmax p' ≠ argmax p`."""
    return float(np.mean(released.argmax(axis=1) != clean.argmax(axis=1)))


def l1(released: Answers, clean: Answers) -> float:
    """Compute the budget: the mean over samples of `‖p' − p‖₁`, in [0, 2]."""
    return float(np.abs(released.astype(np.float64) - clean).sum(axis=1).mean())


def nll(answers: Answers, labels: Labels) -> float:
    """Compute the mean negative log-likelihood of the labels, in nats; probabilities are at least 1e-12."""
    of_label = answers[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(of_label, 1e-12)).mean())


def spectrum(singular_values: NDArray[np.floating]) -> dict[str, float]:
    """Describe how invertible a matrix is.

    Args:
        singular_values: (K,), largest first.

    Returns:
        `rank` (how many are `significant`), `smallest_singular_value`, and `condition_number`: largest by
        smallest, at most 1e12.
    """
    largest, smallest = float(singular_values[0]), float(singular_values[-1])
    return {
        "rank": float(len(significant(singular_values))),
        "smallest_singular_value": smallest,
        "condition_number": min(largest / smallest, 1e12) if smallest > 0 else 1e12,
    }


def significant(singular_values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the singular values that are not 0 but for rounding errors.

    Those are above the largest times K times the precision of single numbers, as NumPy counts the rank.

    Args:
        singular_values: (K,), largest first.
    """
    negligible = float(singular_values[0]) * len(singular_values) * float(np.finfo(np.float32).eps)
    return singular_values[singular_values > negligible]


def ece(answers: Answers, labels: Labels, bins: int = 15) -> float:
    """Compute the expected calibration error over equal-width bins (Guo et al. 2017), in [0, 1]."""
    confidence = answers.max(axis=1).astype(np.float64)
    right = answers.argmax(axis=1) == labels
    # an answer that is no number has a gap that is none, wherever it is counted
    bin_of = np.minimum((np.nan_to_num(confidence) * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
