"""The attacker who asks about a part of its images and learns from the others, too (FixMatch, Sohn et al. 2020).

What the clone is sure of in a weakly augmented view of an unanswered image is taught to a strongly augmented one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loot

SURE = 0.95
"""Probability from which a label counts, as in the paper."""


def learn(loot: Loot) -> Lesson:
    """Return targets p', (N, K), and FixMatch's loss."""
    return Lesson(loot.answers, consistent)


def consistent(logits: Tensor, targets: Tensor) -> Tensor:
    """Add to the cross-entropy of answered images that of the strong views with the sure labels of the weak ones.

    Args:
        logits: (B + 2U, K): of answered images, then of weak and of strong views of others, in the same order.
        targets: of the answered images, (B, K).

    Returns:
        A scalar: the mean over B, and that over U in which a view without a sure label counts 0.
    """
    answered, views = logits.split([len(targets), len(logits) - len(targets)])
    loss = F.cross_entropy(answered, targets)
    if not len(views):
        return loss
    weak, strong = views.chunk(2)
    probability, label = F.softmax(weak.detach(), dim=1).max(dim=1)
    taught = F.cross_entropy(strong, label, reduction="none")
    return loss + torch.where(probability >= SURE, taught, 0.0).mean()
