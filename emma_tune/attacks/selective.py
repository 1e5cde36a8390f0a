"""The selective attacker: a clone learns more from few answers that say something than from all of them.

An answer that a defense withheld says nothing, or misleads. Who knows the gate trains on the answers that it let
pass; who does not can still tell an answer that is nearly uniform, or less confident than it asks for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.lesson import Lesson, Loot

NEAR = 0.1
"""Largest distance, in L1, from the uniform distribution of an answer that says nothing."""


def learn(loot: Loot) -> Lesson:
    """Return the answers as targets, (N, K), and the rows that are worth training on; all if fewer than two are.

    `kept` is the share of these rows.
    """
    rows = worthwhile(loot).nonzero()[:, 0]
    if len(rows) < 2:  # of which nothing can be learned
        rows = torch.arange(len(loot.answers))
    return Lesson(loot.answers, metrics={"kept": len(rows) / len(loot.answers)}, rows=rows)


def worthwhile(loot: Loot) -> Tensor:
    """Tell which answers are worth training on, (N,) bool.

    They are not nearly uniform, have a class of at least the attacker's `confidence`, and have passed the gate if
    it is known: they are what it lets pass, so that they can be clean posteriors.
    """
    answers = loot.answers
    telling = (answers - 1 / answers.shape[1]).abs().sum(dim=1) > NEAR
    telling &= answers.max(dim=1).values >= loot.confidence
    return telling if loot.release is None else telling & ~loot.release.acts(answers)
