"""The selective attacker: a clone learns more from few answers that say something than from all of them.

An answer that a defense withheld says nothing, or misleads. Who knows the gate trains on the answers that it let
pass; who does not can still tell an answer that is nearly uniform, or less confident than it asks for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.inverse import SAME, undo, went_through
from emma_tune.attacks.lesson import KnownDefense, Lesson, Loot

NEAR = 0.1
"""Largest distance, in L1, from the uniform distribution of an answer that says nothing."""

SOFTER = 20
"""Softer forms of an answer that are tried as what it may stand for."""


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
    it is known: they are what it lets pass, and `acted` finds nothing else that they stand for.
    """
    answers = loot.answers
    telling = (answers - 1 / answers.shape[1]).abs().sum(dim=1) > NEAR
    telling &= answers.max(dim=1).values >= loot.confidence
    return telling if loot.release is None else telling & ~loot.release.acts(answers) & ~acted(loot, loot.release)


def acted(loot: Loot, release: KnownDefense) -> Tensor:
    """Tell for which answers the defense can have acted, (N,) bool: it acts on some p that it releases as them.

    Such p are what T⁻¹ makes of an answer, and the answer made softer: its entries multiplied by a share, and the
    rest spread over the classes that it does not name (a defense may have cut them off), or over all. So an answer
    that does not depend on p is found, too.
    """
    answers = loot.answers
    found = torch.zeros(len(answers), dtype=torch.bool)
    if release.matrix is not None:
        found |= went_through(answers, undo(answers, release.matrix, low_rank=loot.low_rank), release)
    missing = (answers <= 0).to(answers)
    missing /= missing.sum(dim=1, keepdim=True).clamp(min=1)
    for spread in (missing, torch.full_like(answers, 1 / answers.shape[1])):
        for share in torch.linspace(0, 1, SOFTER).tolist():
            softer = share * answers + (1 - share) * spread
            clean = softer / softer.sum(dim=1, keepdim=True).clamp(min=SAME)
            seeds = torch.zeros(len(answers), dtype=torch.int64)
            released = release(clean, seeds=seeds, guidance=loot.guidance)
            found |= release.acts(clean) & ((released - answers).abs().sum(dim=1) <= SAME)
    return found
