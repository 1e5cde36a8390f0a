"""What an attacker who knows the defense can do by itself: guess clean posteriors, and defend them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks.inverse import pseudo_inverse
from emma_tune.attacks.lesson import KnownDefense, Loot

TOTALS = (1.0, 3.0, 10.0)
"""Of guesses that no answer suggests: sums of the parameters of symmetric Dirichlet distributions, from sure
classifiers to unsure ones."""

LEAST = 0.01
"""The share of a guess's center that is spread over all classes: an answer may have lost them."""

STEPS, DAMPING = 50, 0.5
"""Most steps that move guesses towards an answer, and the share of what is missing that a step without T adds."""

CLOSE = 1e-6
"""Distance in L2 from an answer at which guesses are moved no more."""

ENTRIES = 20_000_000
"""The most numbers that guesses consist of, however many are asked for: 80 MB in single precision."""


def nearest_distribution(points: Tensor) -> Tensor:
    """Return the distribution that is nearest in L2 to each point, (…, K): `max(x − c, 0)` (Held et al. 1974)."""
    largest = -torch.from_numpy(np.sort(-points.numpy()))  # several times as fast as PyTorch's
    first = largest[..., :1]
    above = (largest - first).cumsum(dim=-1) - 1  # c for each number of positive entries, times that number
    count = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype)
    positive = ((largest - first) * count > above).sum(dim=-1, keepdim=True)
    return (points - first - above.gather(-1, positive - 1) / positive).clamp(min=0)


class Pairs(NamedTuple):
    """Guesses and what is released for them, (M, K) each."""

    clean: Tensor
    released: Tensor


@dataclass(frozen=True)
class Defended:
    """Unique answers, sorted.

    Attributes:
        answers: (D, K).
        guidance: what the defense found out about each, (D, G); None of a defense that is not guided.
        place: of each answer of the loot, (N,), in these.
        release: what is known of the defense.
        chance: draws guesses, and the noise of a defense that draws.
    """

    answers: Tensor
    guidance: Tensor | None
    place: Tensor
    release: KnownDefense
    chance: np.random.Generator

    @classmethod
    def of(cls, loot: Loot) -> Defended:
        """Collect the unique answers of the loot."""
        assert loot.release is not None, "planned for attackers that know the defense only"
        K, guidance = loot.answers.shape[1], loot.guidance
        rows = loot.answers if guidance is None else torch.cat([loot.answers, guidance.to(loot.answers)], dim=1)
        distinct, place = torch.unique(rows, dim=0, return_inverse=True)
        return cls(
            distinct[:, :K].contiguous(),
            None if guidance is None else distinct[:, K:].contiguous(),
            place,
            loot.release,
            np.random.default_rng(loot.seed),
        )

    def affordable(self, count: int) -> int:
        """Return a number of guesses, or as many as memory is meant for."""
        return max(1, min(count, ENTRIES // self.answers.shape[1]))

    def anywhere(self, count: int) -> Tensor:
        """Guess posteriors whatever the answers are, (count, K)."""
        K = self.answers.shape[1]
        totals = np.resize(TOTALS, count)
        return self._dirichlet(np.repeat(totals[:, None] / K, K, axis=1))

    def around(self, centers: Tensor, each: int, concentration: float) -> Tensor:
        """Guess posteriors around others, (C · each, K), those around the first center first.

        Args:
            centers: (C, K) distributions.
            each: guesses around each.
            concentration: the standard deviation is inversely proportional to the root of K times this.
        """
        K = centers.shape[1]
        spread = (1 - LEAST) * centers.double().numpy() + LEAST / K
        return self._dirichlet(np.repeat(K * concentration * spread, each, axis=0))

    def pairs_of(self, clean: Tensor, rows: Tensor | None = None) -> Pairs:
        """Release guesses (M, K) as the defense would, each with noise of its own.

        Args:
            clean: the guesses.
            rows: which of the answers each is about, (M,), whose guidance it takes.
        """
        seeds = torch.from_numpy(self.chance.integers(0, 2**62, len(clean)))
        guidance = None if self.guidance is None or rows is None else self.guidance[rows]
        return Pairs(clean, self.release(clean, seeds=seeds, guidance=guidance))

    def settled(self, clean: Tensor, rows: Tensor, *, enough: int) -> Pairs:
        """Move guesses until what is released for them is the answer, or as near to it as it was on the way.

        Each step adds what the answer has more than the released form: to every other guess all of it by T⁻¹, if a
        matrix is known, and to the rest `DAMPING` of it. What a matrix without inverse does not tell stays as it
        was guessed, so where many posteriors fit, guesses end at different ones.

        Args:
            clean: guesses, (R, M, K).
            rows: the answers that they are about, (R,).
            enough: so many guesses of an answer that have arrived let its others stop where they are.
        """
        R, M, _ = clean.shape
        best, released = clean, self.released(clean, rows)
        best_released = released
        least = (released - self.answers[rows][:, None]).norm(dim=2)
        moving = torch.arange(R)
        for _ in range(STEPS):
            still = (least[moving] <= CLOSE).sum(dim=1) < min(enough, M)
            if not still.any():
                break
            moving, clean, released = moving[still], clean[still], released[still]
            answers = self.answers[rows[moving]][:, None]
            missing = answers - released
            step = DAMPING * missing
            if self._inverse is not None:
                step[:, ::2] = missing[:, ::2] @ self._inverse
            clean = nearest_distribution(clean + step)
            released = self.released(clean, rows[moving])
            distance = (released - answers).norm(dim=2)
            closer = (distance < least[moving])[..., None]
            least = least.index_copy(0, moving, distance.minimum(least[moving]))
            best = best.index_copy(0, moving, torch.where(closer, clean, best[moving]))
            best_released = best_released.index_copy(
                0, moving, torch.where(closer, released, best_released[moving])
            )
        return Pairs(best, best_released)

    @cached_property
    def _inverse(self) -> Tensor | None:
        """The pseudo-inverse of T, (K, K); None without a matrix."""
        T = self.release.matrix
        return None if T is None else pseudo_inverse(T, low_rank=True).to(self.answers)

    def released(self, clean: Tensor, rows: Tensor) -> Tensor:
        """Release guesses of each answer, (R, M, K)."""
        each = rows.repeat_interleave(clean.shape[1])
        return self.pairs_of(clean.flatten(0, 1), each).released.view(clean.shape)

    def misfit(self, restored: Tensor) -> float:
        """Return the mean over queries of `‖release(p̂) − p'‖₁`, in [0, 2]; `restored` (D, K).

        It is what an attacker can check; whether p̂ is p it cannot.
        """
        rows = torch.arange(len(restored))
        distances = (self.pairs_of(restored, rows).released - self.answers).abs().sum(dim=1)
        return float(distances[self.place].double().mean())

    def _dirichlet(self, parameters: np.ndarray) -> Tensor:
        drawn = self.chance.standard_gamma(parameters)
        return torch.from_numpy(drawn / drawn.sum(axis=1, keepdims=True)).to(self.answers.dtype)
