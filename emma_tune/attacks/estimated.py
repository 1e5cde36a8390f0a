"""The attacker who estimates T: answers lie in the convex hull of T's rows, confident ones nearly at a vertex.

Vertices by successive projection (Araújo et al. 2001; Gillis & Vavasis 2014); which one is which class by a few
labeled images; then the answers are undone as if T were known.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from emma_tune.attacks.inverse import undo
from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets `undo(p', T̂)`, (N, K).

    Where the defense is a matrix, `matrix_error` is the mean over rows of `‖T̂_k − T_k‖₁`, in [0, 2].
    """
    estimate = estimate_matrix(loot.answers, loot.labeled_answers, loot.labels)
    metrics = {}
    if loot.matrix is not None:
        metrics["matrix_error"] = float((estimate - loot.matrix.double()).abs().sum(dim=1).mean())
    return Lesson(undo(loot.answers, estimate), metrics=metrics)


def estimate_matrix(answers: Tensor, labeled_answers: Tensor, labels: Tensor) -> Tensor:
    """Estimate T from answers and a few labeled images.

    Args:
        answers: p', (N, K).
        labeled_answers: p' of images whose labels are known, (M, K).
        labels: (M,).

    Returns:
        (K, K) float64, row-stochastic.
    """
    K = answers.shape[1]
    vertices = _vertices(torch.cat([answers, labeled_answers]).double(), K)
    means = torch.stack([labeled_answers[labels == k].double().mean(dim=0) for k in range(K)])
    # of a class without an image nothing is known: it takes the row that the others leave
    distances = torch.cdist(means, vertices, p=1).nan_to_num(0.0)
    classes, rows = linear_sum_assignment(distances.numpy())
    estimate = torch.empty(K, K, dtype=torch.float64)
    estimate[torch.from_numpy(classes)] = vertices[torch.from_numpy(rows)]
    return estimate


def _vertices(points: Tensor, count: int) -> Tensor:
    """Find rows whose convex hull holds the others, (count, K), by successive projection.

    Again and again the longest row is taken, and its direction removed from all.
    """
    left, found = points.clone(), []
    for _ in range(count):
        longest = int((left**2).sum(dim=1).argmax())
        found.append(points[longest])
        direction = left[longest] / left[longest].norm().clamp(min=1e-300)
        left = left - torch.outer(left @ direction, direction)
    return torch.stack(found)
