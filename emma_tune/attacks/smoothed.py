"""The attacker who asks more often: several augmented views of each query, whose answers it averages.

Noise that is drawn for each query averages out; a defense that depends on the query alone is blurred.
"""

from __future__ import annotations

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Return the mean of the answers to the views, (N, K), as targets: `Loot.answers` are that mean."""
    return Lesson(loot.answers)
