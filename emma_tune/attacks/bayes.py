"""Partial Bayes (ModelGuard, Tang et al. 2024): look up what answers stand for, whatever the defense is.

Clean posteriors are guessed, and each is released as the known defense releases it: a table of pairs. An answer
becomes the mean of the guesses whose released form lies within a tolerance, or the nearest guess if there is none.
So it needs no inverse, and where a defense has made one of many posteriors, it takes what they have in common.

The published code draws its guesses around the true posteriors, which no attacker has. Here the first ones lie
anywhere and around the answers. An answer that none of them comes near has guesses of its own, each of which is
moved until it is released as that answer. Where one posterior fits, all of them end there; where many do, at
different ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.guesses import ENTRIES, Defended, Pairs
from emma_tune.attacks.inverse import undo
from emma_tune.attacks.lesson import Lesson, Loot

TABLE = 100_000
"""Guesses that all answers share."""

TOLERANCE = 0.003
"""Largest distance, in L2, between an answer and the released form of a guess for it."""

CONCENTRATION = 8.0
"""Of guesses around the answers, as in the published code."""

OWN, CLOSER = 8, (64.0, 1024.0)
"""Guesses of its own that an answer has, and the concentrations of as many more around the nearest of them."""

FEWEST, FIT = 4, 1e-4
"""Of its own guesses that are averaged, however far they are, since noise leaves none near; and the largest
distance, in L2, at which all of them are."""

BLOCK = (128, 8192)
"""Answers and guesses that are compared at a time."""


def learn(loot: Loot) -> Lesson:
    """Return targets restored answers, (N, K).

    `misfit` is the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2].
    """
    defended = Defended.of(loot)
    if defended.guidance is None:
        restored, found = posterior_means(defended.answers, _table(defended))
        left = (~found).nonzero()[:, 0]
    else:  # the defense treats each query by itself
        restored, left = defended.answers, torch.arange(len(defended.answers))
    block = max(1, ENTRIES // (4 * OWN * defended.answers.shape[1]))
    for rows in left.split(block) if len(left) else ():
        restored = restored.index_copy(0, rows, _by_own_guesses(defended, rows, restored[rows]))
    return Lesson(restored[defended.place], metrics={"misfit": defended.misfit(restored)})


def _table(defended: Defended) -> Pairs:
    """Draw the shared guesses: half anywhere, half around the answers.

    Around a random subset of them if there are more answers than guesses.
    """
    count = defended.affordable(TABLE) // 2
    centers = defended.answers[torch.from_numpy(defended.chance.permutation(len(defended.answers))[:count])]
    around = defended.around(centers, count // len(centers), CONCENTRATION)
    # an answer may be p itself
    return defended.pairs_of(torch.cat([defended.answers, around, defended.anywhere(count)]))


def posterior_means(answers: Tensor, table: Pairs, tolerance: float = TOLERANCE) -> tuple[Tensor, Tensor]:
    """Average, for each answer, the guesses whose released form is within a tolerance of it.

    Args:
        answers: p', (D, K).
        table: guesses and their released forms, (M, K) each.
        tolerance: in L2.

    Returns:
        The means of these guesses, (D, K), the nearest guess where there is none; and where there are any, (D,).
    """
    clean, released = table
    half, counted = (released**2).sum(dim=1) / 2, torch.cat([clean, torch.ones_like(clean[:, :1])], dim=1)
    means, found = [], []
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
        found.append(sums[:, -1] > 0)
        means.append(torch.where(found[-1][:, None], sums[:, :-1] / sums[:, -1:].clamp(min=1), clean[nearest]))
    return torch.cat(means), torch.cat(found)


def _by_own_guesses(defended: Defended, rows: Tensor, first: Tensor) -> Tensor:
    """Restore some of the answers, (R, K), by guesses around what they may stand for at first, (R, K)."""
    answers, each = defended.answers[rows], rows.repeat_interleave(OWN)
    shape = (len(rows), OWN, answers.shape[1])
    guesses = defended.around(first, OWN, CONCENTRATION).view(shape)
    guesses[:, 0], guesses[:, 1] = first, answers
    guesses[:, 3::2] = defended.anywhere(len(rows) * len(range(3, OWN, 2))).view_as(guesses[:, 3::2])
    if defended.release.matrix is not None:
        guesses[:, 2] = undo(answers, defended.release.matrix, low_rank=True)
    clean, released = defended.settled(guesses, rows, enough=FEWEST)
    for concentration in CLOSER:
        nearest = _nearest(answers, Pairs(clean, released), 1).clean[:, 0]
        more = defended.pairs_of(defended.around(nearest, OWN, concentration), each)
        clean, released = _nearest(
            answers,
            Pairs(
                torch.cat([clean, more.clean.view(shape)], dim=1),
                torch.cat([released, more.released.view(shape)], dim=1),
            ),
            OWN,
        )
    return _mean_or_nearest(defended, rows, Pairs(clean, released))


def _nearest(answers: Tensor, own: Pairs, count: int) -> Pairs:
    """Keep the nearest guesses of each answer, (R, count, K), nearest first, of its own, (R, M, K)."""
    distance = (own.released - answers[:, None]).norm(dim=2)
    order = distance.argsort(dim=1, stable=True)[:, :count, None]
    clean, released = (of.gather(1, order.expand(-1, -1, of.shape[2])) for of in own)
    return Pairs(clean, released)


def _mean_or_nearest(defended: Defended, rows: Tensor, own: Pairs) -> Tensor:
    """Average the guesses that fit each answer, `FEWEST` at least; fewer fit: the nearest, if it fits better."""
    answers = defended.answers[rows]
    distance = (own.released - answers[:, None]).norm(dim=2)  # nearest first
    within = (distance <= distance[:, FEWEST - 1 : FEWEST].clamp(min=FIT)).to(own.clean.dtype)
    means = (within[:, None] @ own.clean)[:, 0] / within.sum(dim=1, keepdim=True)
    of_means, of_nearest = (
        (defended.pairs_of(clean, rows).released - answers).abs().sum(dim=1) for clean in (means, own.clean[:, 0])
    )
    better = (distance[:, FEWEST - 1] > FIT) & (of_nearest < of_means)
    return torch.where(better[:, None], own.clean[:, 0], means)
