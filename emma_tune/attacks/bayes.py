"""Partial Bayes (ModelGuard, Tang et al. 2024): look up what answers stand for, whatever the defense is.

Clean posteriors are guessed, and each is released as the known defense releases it: a table of pairs. An answer
becomes the mean of the guesses whose released form lies within a tolerance, or the nearest guess if there is none.
So it needs no inverse, and where a defense has made one of many posteriors, it takes what they have in common.

The published code draws its guesses around the true posteriors, which no attacker has, in one go. Here the first
guesses lie anywhere and around the answers, and the next ones ever closer around what has been restored so far
(as in sequential approximate Bayesian computation, Sisson et al. 2007).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks.guesses import Defended, Pairs
from emma_tune.attacks.lesson import Lesson, Loot

TABLE = 100_000
"""Guesses in all."""

TOLERANCE = 0.01
"""Largest distance, in L2, between an answer and the released form of a guess for it."""

CLOSER = (8.0, 64.0)
"""Concentrations of the guesses around what has been restored, round by round."""

OWN, CLOSER_ALONE = 32, (8.0, 16.0, 64.0, 256.0)
"""Guesses for each answer in each round, and concentrations, where the defense treats each query by itself."""

BLOCK = (128, 8192)
"""Answers and guesses that are compared at a time."""


def learn(loot: Loot) -> Lesson:
    """Return targets restored answers, (N, K).

    `misfit` is the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2].
    """
    defended = Defended.of(loot)
    restored = _restored(defended) if defended.guidance is None else _restored_one_by_one(defended)
    return Lesson(restored[defended.place], metrics={"misfit": defended.misfit(restored)})


def _restored(defended: Defended) -> Tensor:
    """Restore all answers by one table, (D, K)."""
    part = max(1, defended.affordable(TABLE) // (2 + len(CLOSER)))
    around = _around(defended, defended.answers, part, CLOSER[0])
    clean = torch.cat([defended.answers, around, defended.anywhere(part)])  # an answer may be p itself
    table = defended.defended(clean)
    restored = posterior_means(defended.answers, table)
    for concentration in CLOSER:
        table = table.and_(defended.defended(_around(defended, restored, part, concentration)))
        restored = posterior_means(defended.answers, table)
    return restored


def _around(defended: Defended, centers: Tensor, count: int, concentration: float) -> Tensor:
    """Guess about `count` posteriors around centers, or around as many of them, (M, K)."""
    chosen = np.sort(defended.chance.permutation(len(centers))[:count])
    return defended.around(centers[torch.from_numpy(chosen)], count // len(chosen), concentration)


def posterior_means(answers: Tensor, table: Pairs, tolerance: float = TOLERANCE) -> Tensor:
    """Average, for each answer, the guesses whose released form is within a tolerance of it.

    Args:
        answers: p', (D, K).
        table: guesses and their released forms, (M, K) each.
        tolerance: in L2.

    Returns:
        (D, K): the mean of these guesses; the nearest where there is none.
    """
    clean, released = table
    half, counted = (released**2).sum(dim=1) / 2, torch.cat([clean, torch.ones_like(clean[:, :1])], dim=1)
    means = []
    for block in answers.split(BLOCK[0]):
        least = block.new_full((len(block),), torch.inf)
        nearest = torch.zeros(len(block), dtype=torch.int64)
        sums = block.new_zeros(len(block), counted.shape[1])
        own = (block**2).sum(dim=1) / 2
        for start in range(0, len(clean), BLOCK[1]):
            some = slice(start, start + BLOCK[1])
            # half of the squared distance, less what belongs to the answer alone
            distance = torch.addmm(half[some], block, released[some].T, alpha=-1)
            closest, where = distance.min(dim=1)
            nearest = torch.where(closest < least, where + start, nearest)
            least = least.minimum(closest)
            within = distance <= (tolerance**2 / 2 - own)[:, None]
            sums += within.to(block.dtype) @ counted[some]
        found = sums[:, -1:]
        means.append(torch.where(found > 0, sums[:, :-1] / found.clamp(min=1), clean[nearest]))
    return torch.cat(means) if means else answers


def _restored_one_by_one(defended: Defended) -> Tensor:
    """Restore each answer by guesses of its own, since the defense treats each query by itself, (D, K)."""
    every = torch.arange(len(defended.answers))
    return torch.cat([_restored_alone(defended, rows) for rows in every.split(BLOCK[1])])


def _restored_alone(defended: Defended, rows: Tensor) -> Tensor:
    answers = defended.answers[rows]
    shape, each = (len(rows), OWN, answers.shape[1]), rows.repeat_interleave(OWN)
    guesses = defended.around(answers, OWN, CLOSER[0]).view(shape)
    guesses[:, 0] = answers  # which may be p itself
    guesses[:, 1::2] = defended.anywhere(len(each) // 2).view_as(guesses[:, 1::2])
    clean, released = (of.view(shape) for of in defended.defended(guesses.flatten(0, 1), each))
    restored = _own_means(answers, clean, released)
    for concentration in CLOSER_ALONE:
        more = defended.defended(defended.around(restored, OWN, concentration), each)
        clean = torch.cat([clean, more.clean.view(shape)], dim=1)
        released = torch.cat([released, more.released.view(shape)], dim=1)
        restored = _own_means(answers, clean, released)
    return restored


def _own_means(answers: Tensor, clean: Tensor, released: Tensor) -> Tensor:
    """As `posterior_means`, of each answer (D, K) by its own guesses, (D, M, K) each."""
    distance = (released - answers[:, None]).norm(dim=2)
    farthest = distance.min(dim=1, keepdim=True).values.clamp(min=TOLERANCE)
    within = (distance <= farthest).to(clean.dtype)
    return (within[:, None] @ clean)[:, 0] / within.sum(dim=1, keepdim=True)
