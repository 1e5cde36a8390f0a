"""The thief who asks more often: several augmented views of each query, of whose answers it keeps the mean.

Noise that is drawn for each query averages out; a defense that depends on the query alone is blurred.
"""

from __future__ import annotations

from emma_tune.attacks.lesson import Lesson, Loot


def learn(loot: Loot) -> Lesson:
    """Targets: the mean of the answers to the views, (N, K), which is what `Loot.answers` are for this thief."""
    return Lesson(loot.answers)
