"""An attacker: trains its clone on the top class of each answer, with label smoothing."""

import torch.nn.functional as F

from emma_tune.attacks.lesson import Lesson
from emma_tune.plugins import attacker

SMOOTHING = 0.1
"""The share of each target that is spread evenly over all classes."""


@attacker(knows="the top class of each answer")
def label_smoothing(loot):
    """Turn answers into what the clone is trained on.

    Args:
        loot: what the attacker got; `loot.answers` are the released answers to its queries, (N, K).

    Returns:
        The targets of the queries, (N, K), each row a distribution; and, if it is not cross-entropy, a loss.
    """
    classes = loot.answers.shape[1]
    top = F.one_hot(loot.answers.argmax(dim=1), classes)
    return Lesson((1 - SMOOTHING) * top + SMOOTHING / classes)
