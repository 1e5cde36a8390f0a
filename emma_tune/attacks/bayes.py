"""Partial Bayes (ModelGuard, Tang et al. 2024): look up what answers stand for, whatever the defense is.

Clean posteriors are guessed, and each is released as the known defense releases it: a table of pairs. An answer
becomes the mean of the guesses whose released form lies within a tolerance.
So it needs no inverse, and where a defense has made one of many posteriors, it takes what they have in common.

The published code draws its guesses around the true posteriors, which no attacker has. Here the first ones lie
anywhere and around the answers. An answer that none of them comes near has guesses of its own, each of which is
moved until it is released as that answer. Where one posterior fits, all of them end there; where many do, at
different ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emma_tune.attacks.guesses import Defended, Pairs
from emma_tune.attacks.inverse import undo
from emma_tune.attacks.lesson import Lesson, Loot

TABLE, EACH = 100_000, 100
"""Guesses that all answers share, and how many of them are tried for each answer of a guided defense."""

TOLERANCE = 0.003
"""Largest distance, in L2, between an answer and the released form of a guess for it."""

CONCENTRATION = 8.0
"""Of guesses around the answers, as in the published code."""

OWN, CLOSER = 8, (64.0, 1024.0)
"""Guesses of its own that an answer has, and the concentrations of as many more around the nearest of them."""

FEWEST, FIT = 4, 1e-4
"""At least so many own guesses of an answer are averaged, since with noise none is near; and all that are within a
distance, in L2."""

BLOCK, CANDIDATES = 64, 8192
"""Answers and guesses that are compared at a time."""

COMPARED = 500_000_000
"""Most pairs of answer and guess that are compared to find the nearest guess, with which own guesses begin."""

AT_ONCE = 2**18
"""Numbers in the guesses that are moved together: few enough for a cache of the processor."""


def learn(loot: Loot) -> Lesson:
    """Return targets restored answers, (N, K).

    `misfit` is the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2].
    """
    defended = Defended.of(loot)
    T = defended.release.matrix
    guesses = _guesses(defended)
    if defended.guidance is None:
        restored, found = posterior_means(defended.answers, defended.pairs_of(guesses))
    else:
        restored, found = _means_of_each(defended, guesses)
    left = (~found).nonzero()[:, 0]
    undone = None if T is None else undo(defended.answers, T, low_rank=True)
    for rows in left.split(max(1, AT_ONCE // (OWN * defended.answers.shape[1]))) if len(left) else ():
        own = _own_guesses(defended, rows, restored[rows], undone)
        restored[rows] = _by_own_guesses(defended, rows, own)
    return Lesson(restored[defended.place], metrics={"misfit": defended.misfit(restored)})


def _guesses(defended: Defended) -> Tensor:
    """Draw the shared guesses, (M, K): half anywhere, half around the answers.

    Around a random subset of them if there are more answers than guesses.
    """
    count = defended.affordable(TABLE) // 2
    centers = defended.answers[torch.from_numpy(defended.chance.permutation(len(defended.answers))[:count])]
    around = defended.around(centers, count // len(centers), CONCENTRATION)
    # an answer may be p itself
    return torch.cat([defended.answers, around, defended.anywhere(count)])


def posterior_means(answers: Tensor, table: Pairs, tolerance: float = TOLERANCE) -> tuple[Tensor, Tensor]:
    """Average, for each answer, the guesses whose released form is within a tolerance of it.

    Args:
        answers: p', (D, K).
        table: guesses and their released forms, (M, K) each.
        tolerance: in L2.

    Returns:
        The means of these guesses, (D, K), where there is none a guess nearby; and where there are any, (D,).
    """
    sums = _sums_within(answers, table, tolerance)
    means, found = sums[:, :-1] / sums[:, -1:].clamp(min=1), sums[:, -1] > 0
    without = (~found).nonzero()[:, 0]
    return means.index_copy(0, without, _nearest_in(table, answers[without])), found


def _means_of_each(defended: Defended, guesses: Tensor) -> tuple[Tensor, Tensor]:
    """Do as `posterior_means` for a defense that treats each query by itself; without a guess, it is the answer.

    An answer that misleads is the released form of all posteriors for which the defense acts. It may be p as well,
    but of guesses drawn by chance none is that: so it counts for nothing.
    """
    restored, found = defended.answers.clone(), torch.zeros(len(defended.answers), dtype=torch.bool)
    for rows in torch.arange(len(restored)).split(max(1, AT_ONCE // (EACH * restored.shape[1]))):
        some = guesses[torch.from_numpy(defended.chance.integers(0, len(guesses), (len(rows), EACH)))]
        distances = _distances(defended.answers[rows], Pairs(some, defended.released(some, rows)))
        within = (distances <= TOLERANCE).to(some.dtype)
        count = within.sum(dim=1, keepdim=True)
        found[rows] = count[:, 0] > 0
        means = (within[:, None] @ some)[:, 0] / count.clamp(min=1)
        restored[rows] = torch.where(count > 0, means, restored[rows])
    return restored, found


def _sums_within(answers: Tensor, table: Pairs, tolerance: float) -> Tensor:
    """Add up the guesses whose released form is within a tolerance of each answer, and count them, (D, K + 1).

    Along one axis, points are at most as far apart as they are: answers and guesses are sorted along the axis in
    which the guesses differ most, and those of a block of answers compared only with the guesses beside it.
    """
    centered = table.released - table.released.mean(dim=0)
    axis = torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -1:]
    along, order = (table.released @ axis)[:, 0].sort()
    clean, released = (of[order] for of in table)
    half, counted = (released**2).sum(dim=1) / 2, torch.cat([clean, torch.ones_like(clean[:, :1])], dim=1)
    margin = tolerance + 100 * torch.finfo(along.dtype).eps  # of rounding
    own_along, own_order = (answers @ axis)[:, 0].sort()
    sums = answers.new_zeros(len(answers), counted.shape[1])
    for rows, places in zip(own_order.split(BLOCK), own_along.split(BLOCK), strict=True):
        block = answers[rows]
        bound = (tolerance**2 - (block**2).sum(dim=1, keepdim=True)) / 2
        first, last = torch.searchsorted(along, torch.stack([places[0] - margin, places[-1] + margin])).tolist()
        for start in range(first, last, CANDIDATES):
            some = slice(start, min(start + CANDIDATES, last))
            # half of the squared distance, less what belongs to the answer alone
            within = torch.addmm(half[some], block, released[some].T, alpha=-1) <= bound
            if within.any():
                sums[rows] += within.to(block.dtype) @ counted[some]
    return sums


def _nearest_in(table: Pairs, answers: Tensor) -> Tensor:
    """Return the guess released nearest to each answer, (D, K); for many answers, of a part of the table."""
    every = max(1, len(table.clean) * len(answers) // COMPARED)
    clean, released = (of[::every] for of in table)
    half = (released**2).sum(dim=1) / 2
    nearest = torch.zeros(len(answers), dtype=torch.int64)
    for rows in torch.arange(len(answers)).split(BLOCK):
        block, least = answers[rows], answers.new_full((len(rows),), torch.inf)
        for start in range(0, len(clean), CANDIDATES):
            some = slice(start, start + CANDIDATES)
            # half of the squared distance, less what belongs to the answer alone
            distance = torch.addmm(half[some], block, released[some].T, alpha=-1)
            # NumPy's search is several times as fast
            where = torch.from_numpy(distance.numpy().argmin(axis=1))
            closest = distance.gather(1, where[:, None])[:, 0]
            nearest[rows] = torch.where(closest < least, where + start, nearest[rows])
            least = least.minimum(closest)
    return clean[nearest]


def _own_guesses(defended: Defended, rows: Tensor, first: Tensor, undone: Tensor | None) -> Tensor:
    """Guess what some of the answers may stand for, (R, OWN, K).

    Args:
        defended: the answers.
        rows: which of them, (R,).
        first: a guess for each of these, (R, K).
        undone: all answers undone by T⁻¹, (D, K); None without a matrix.
    """
    R, K = first.shape
    guesses = first.new_empty(R, OWN, K)
    guesses[:, 0], guesses[:, 1] = first, defended.answers[rows]
    around, anywhere = (len(range(start, OWN, 2)) for start in (2, 3))
    guesses[:, 2::2] = defended.around(first, around, CONCENTRATION).view(R, around, K)
    guesses[:, 3::2] = defended.anywhere(R * anywhere).view(R, anywhere, K)
    if undone is not None:
        guesses[:, 2] = undone[rows]
    return guesses


def _by_own_guesses(defended: Defended, rows: Tensor, guesses: Tensor) -> Tensor:
    """Restore some of the answers, (R, K), by moving guesses of their own, (R, OWN, K).

    Where fewer than `FEWEST` come within `FIT`, there are more around the nearest.
    """
    answers = defended.answers[rows]
    own = _nearest(answers, defended.settled(guesses, rows, enough=FEWEST), OWN)
    short = (_distances(answers, own)[:, FEWEST - 1] > FIT).nonzero()[:, 0]
    if len(short):
        closer = _closer(defended, rows[short], Pairs(*(of[short] for of in own)))
        own = Pairs(*(of.index_copy(0, short, new) for of, new in zip(own, closer, strict=True)))
    return _mean_or_nearest(defended, rows, own)


def _closer(defended: Defended, rows: Tensor, own: Pairs) -> Pairs:
    """Replace guesses of answers, (R, OWN, K), nearest first, by nearer ones around the nearest of each."""
    answers, each = defended.answers[rows], rows.repeat_interleave(OWN)
    for concentration in CLOSER:
        more = defended.pairs_of(defended.around(own.clean[:, 0], OWN, concentration), each)
        both = (torch.cat([of, new.view_as(of)], dim=1) for of, new in zip(own, more, strict=True))
        own = _nearest(answers, Pairs(*both), OWN)
    return own


def _nearest(answers: Tensor, own: Pairs, count: int) -> Pairs:
    """Keep the nearest guesses of each answer, (R, count, K), nearest first, of its own, (R, M, K)."""
    order = _distances(answers, own).argsort(dim=1, stable=True)[:, :count, None]
    clean, released = (of.gather(1, order.expand(-1, -1, of.shape[2])) for of in own)
    return Pairs(clean, released)


def _distances(answers: Tensor, own: Pairs) -> Tensor:
    """Return the distance in L2 of the released form of each guess, (R, M, K), from its answer, (R, M)."""
    distances: Tensor = (own.released - answers[:, None]).norm(dim=2)
    return distances


def _mean_or_nearest(defended: Defended, rows: Tensor, own: Pairs) -> Tensor:
    """Average the guesses that fit each answer, (R, M, K), nearest first; `FEWEST` of them at least.

    If fewer fit it is the nearest, should that fit better than the mean.
    """
    answers = defended.answers[rows]
    distance = _distances(answers, own)
    within = (distance <= distance[:, FEWEST - 1 : FEWEST].clamp(min=FIT)).to(own.clean.dtype)
    means = (within[:, None] @ own.clean)[:, 0] / within.sum(dim=1, keepdim=True)
    of_means, of_nearest = (
        (defended.pairs_of(clean, rows).released - answers).abs().sum(dim=1) for clean in (means, own.clean[:, 0])
    )
    better = (distance[:, FEWEST - 1] > FIT) & (of_nearest < of_means)
    return torch.where(better[:, None], own.clean[:, 0], means)
