"""Choose queries near a decision boundary of the clone (DFAL, Ducoffe & Precioso 2018): DeepFool's distances.

DeepFool (Moosavi-Dezfooli et al. 2016) walks to the nearest boundary of the classifier made linear at each step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emma_tune.attacks.choosing.candidates import Candidates

CLASSES, STEPS, OVERSHOOT = 10, 10, 0.02
"""Classes whose boundaries count, those of the largest logits; most steps; how far to go beyond a boundary."""


def choose(candidates: Candidates, count: int) -> Tensor:
    """Return the candidates nearest to a decision boundary, nearest first, (count,) int64."""
    batches = candidates.pixels()
    distances = torch.cat([boundary_distances(candidates.logits, pixels).cpu() for pixels in batches])
    return distances.argsort(stable=True)[:count]


def boundary_distances(logits: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Estimate how far (L2) each point is from the nearest decision boundary.

    Args:
        logits: of a classifier that treats each point alone: (B, …) → (B, K), K ≥ 2, differentiable.
        points: (N, …).

    Returns:
        (N,): the length of the walk; exact after one step where the classifier is linear. A point that crosses no
        boundary within `STEPS` has the length that far.
    """
    with torch.no_grad():
        top = logits(points).argsort(dim=1, descending=True, stable=True)[:, :CLASSES]  # (N, C), own class first
    walked = torch.zeros_like(points)
    left = torch.arange(len(points), device=points.device)  # rows that have crossed none
    for _ in range(STEPS):
        found, gradients = _linearized(logits, points[left] + (1 + OVERSHOOT) * walked[left], top[left])
        stays = found.argmax(dim=1) == top[left, 0]
        left, found, gradients = left[stays], found[stays], gradients[stays]
        if not len(left):
            break
        values, slopes = _others(found, top[left]), gradients[:, 1:] - gradients[:, :1]
        walked[left] += _to_nearest(values, slopes.flatten(2)).view_as(walked[left])
    lengths: Tensor = walked.flatten(1).norm(dim=1)
    return lengths


def _others(found: Tensor, top: Tensor) -> Tensor:
    """Return how far below the own class's logit those of the other classes are, (B, C − 1)."""
    of_top = found.gather(1, top)
    return of_top[:, :1] - of_top[:, 1:]


def _to_nearest(values: Tensor, slopes: Tensor) -> Tensor:
    """Return the step to the nearest boundary of a linear classifier: `v_l / ‖w_l‖² · w_l`, l = argmin v / ‖w‖.

    Args:
        values: v, (B, C − 1), ≥ 0.
        slopes: w, (B, C − 1, D).

    Returns:
        (B, D); 0 where no class has a slope.
    """
    lengths = slopes.norm(dim=2)
    distances = torch.where(lengths > 0, values / lengths, torch.inf)
    rows, nearest = torch.arange(len(values), device=values.device), distances.argmin(dim=1)
    scale = distances[rows, nearest] / lengths[rows, nearest]
    return torch.where(scale.isfinite()[:, None], scale[:, None] * slopes[rows, nearest], 0.0)


def _linearized(logits: Callable[[Tensor], Tensor], points: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of points, (B, K), and the gradients of those of the classes `top`, (B, C, …)."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        found = logits(points)
        sums = found.gather(1, top).sum(dim=0)  # of each place in the order; a point moves its own logits only
        gradients = [torch.autograd.grad(each, points, retain_graph=True)[0] for each in sums]
    return found.detach(), torch.stack(gradients, dim=1)
