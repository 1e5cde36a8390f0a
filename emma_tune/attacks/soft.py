"""The soft-label attacker: distills the answers as they come."""

from __future__ import annotations

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets p', (N, K)."""
    return Lesson(loot.answers)
