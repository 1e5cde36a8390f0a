"""The attacker who makes its own queries: Jacobian-based data augmentation (JBDA-TR; Juuti et al., EuroS&P 2019).

It begins with a few images of the victim's kind. In each round it moves every image it has by a step along the
Jacobian of its clone, towards a class drawn by chance, asks about the moved ones, and trains the clone again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets p', (N, K), of all images asked so far."""
    return Lesson(loot.answers)


def towards(logits: Callable[[Tensor], Tensor], pixels: Tensor, classes: Tensor, epsilon: float) -> Tensor:
    """Compute `x − ε sign(∂L/∂x)`, cut off to [0, 1]; L is the cross-entropy of a classifier with a class.

    Args:
        logits: of a classifier that treats each image alone: (B, …) → (B, K), differentiable.
        pixels: x, (B, …), in [0, 1].
        classes: where each image is to go, (B,) int64.
        epsilon: ε, in units of pixels.

    Returns:
        (B, …), in [0, 1].
    """
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        loss = F.cross_entropy(logits(pixels), classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
    return (pixels.detach() - epsilon * gradient.sign()).clamp(0, 1)
