"""The attacker who chooses which queries to ask, in rounds (ActiveThief, Pal et al., AAAI 2020).

It begins with queries drawn by chance, trains a clone on their answers, and lets the clone choose the next ones.
Ways to choose: `choosing/`.
"""

from __future__ import annotations

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return targets p', (N, K), of the queries asked so far."""
    return Lesson(loot.answers)
