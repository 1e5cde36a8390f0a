"""The attacker who asks each query several times, so that noise drawn for each answer averages out.

Against a defense that answers the same query the same way it gains nothing: the mean is the answer, and its clone
is the one that `soft` trains.
"""

from __future__ import annotations

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return the mean of the answers to each query, (N, K), as targets: `Loot.answers` are that mean."""
    return Lesson(loot.answers)
