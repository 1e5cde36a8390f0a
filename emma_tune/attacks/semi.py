"""The attacker who asks about a part of its images and learns from the others, too (FixMatch, Sohn et al. 2020).

What the clone is sure of in a weakly augmented view of an unanswered image is taught to a strongly augmented one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loss

SURE = 0.95
"""Probability from which a label counts, as in the paper."""


def consistently(lesson: Lesson) -> Lesson:
    """Return a lesson with FixMatch's loss, whose first part is the loss that it had."""
    return replace(lesson, loss=partial(consistent, supervised=lesson.loss))


def consistent(logits: Tensor, targets: Tensor, supervised: Loss = F.cross_entropy) -> Tensor:
    """Add to the loss of answered images the cross-entropy of strong views with the sure labels of the weak ones.

    Args:
        logits: (B + 2U, K): of answered images, then of weak and of strong views of others, in the same order.
        targets: of the answered images, (B, K).
        supervised: the loss of the answered images, a mean over B.

    Returns:
        A scalar: the mean over B, and that over U in which a view without a sure label counts 0.
    """
    answered, views = logits.split([len(targets), len(logits) - len(targets)])
    loss = supervised(answered, targets)
    if not len(views):
        return loss
    weak, strong = views.chunk(2)
    probability, label = F.softmax(weak.detach(), dim=1).max(dim=1)
    taught = F.cross_entropy(strong, label, reduction="none")
    return loss + torch.where(probability >= SURE, taught, 0.0).mean()
