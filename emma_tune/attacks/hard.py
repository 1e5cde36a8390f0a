"""The hard-label attacker: keeps only the top class of each answer, which a defense must not change too often."""

from __future__ import annotations

import torch.nn.functional as F

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets one-hot `argmax p'`, (N, K); the first of equal classes."""
    top = loot.answers.argmax(dim=1)
    return Lesson(F.one_hot(top, loot.answers.shape[1]).to(loot.answers.dtype))
