"""The surrogates that T is learned against: one for each attacker that is to be misled, in the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from emma_tune.attacks import PLAIN, guess_of
from emma_tune.data.batches import Images
from emma_tune.defenses.objective import Objective
from emma_tune.training.forward_pass import ForwardPass
from emma_tune.training.hypergradient import hypergradient
from emma_tune.training.learner import Learner

MOST_OTHERS = 4096
"""Other queries that an attacker compares answers with, at most."""


@dataclass(frozen=True)
class Batch:
    """A batch that all surrogates learn from.

    Attributes:
        images: augmented, (B, C, h, w) uint8.
        indices: (B,), of the pool.
        pool: clean posteriors of the pool, un-augmented, (N, K).
    """

    images: Tensor
    indices: Tensor
    pool: Tensor

    @cached_property
    def posteriors(self) -> Tensor:
        """Clean posteriors of the batch, (B, K)."""
        return self.pool[self.indices]

    @cached_property
    def others(self) -> Tensor:
        """Clean posteriors of queries that are not in the batch, (M, K): evenly spaced in the pool.

        Those of the whole pool, if the batch is all of it.
        """
        outside = torch.ones(len(self.pool), dtype=torch.bool, device=self.pool.device)
        outside[self.indices] = len(self.indices) == len(self.pool)
        rows = outside.nonzero()[:, 0]
        return self.pool[rows[:: math.ceil(len(rows) / MOST_OTHERS)]]


class Surrogates:
    """Surrogates that learn side by side, each from what its attacker makes of the answers.

    Args:
        shares: of the attackers in `L_mis`, by name; their sum is 1.
        objective: of the defense, against the attacker that trains on the answers as they are.
        new_learner: makes a surrogate as `st_epoch` left it.
    """

    def __init__(
        self, shares: Mapping[str, float], objective: Objective, new_learner: Callable[[], Learner]
    ) -> None:
        self._shares = dict(shares)
        self._objective = objective
        self.learners = {name: new_learner() for name in shares}
        self._passes: dict[str, ForwardPass] = {}

    def begin(self, epoch: int) -> float:
        """Begin an epoch of every surrogate, and return their common learning rate."""
        rates = [learner.begin(epoch) for learner in self.learners.values()]
        return rates[0]

    def batches(self, images: Images, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, as `Learner.batches`: the same for every surrogate."""
        return next(iter(self.learners.values())).batches(images, epoch)

    def hypergradient(self, batch: Batch, T: Tensor, *, lr: float) -> tuple[Tensor, Tensor]:
        """Compute `∇_T L_out` and L_out, with `L_mis` the weighted mean over the attackers.

        Costs as many forward passes, virtual steps and tangents as there are attackers.
        """
        gradient, loss = T.new_zeros(T.shape), T.new_zeros(())
        for name, learner in self.learners.items():
            network, precision = learner.classifier, learner.training.precision
            forward = self._passes[name] = ForwardPass(network, batch.images, precision=precision)
            against = self._objective._replace(release=self._guess(name, batch))
            slope, value = hypergradient(forward, batch.posteriors, T, lr=lr, objective=against)
            gradient = gradient + self._shares[name] * slope
            loss = loss + self._shares[name] * value
        return gradient, loss

    def descend(self, batch: Batch, T: Tensor) -> Tensor:
        """Take each surrogate's SGD step, reusing the hypergradient's forward pass; return the weighted loss."""
        loss = T.new_zeros(())
        for name, learner in self.learners.items():
            targets = self._guess(name, batch)(batch.posteriors, T)
            loss = loss + self._shares[name] * learner.descend(self._passes.pop(name).logits, targets)
        return loss

    def _guess(self, name: str, batch: Batch) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what an attacker trains on, as a function of clean posteriors and T."""
        return partial(guess_of(name), self._objective.release, others=lambda: batch.others)

    def state(self) -> dict[str, Tensor]:
        """Copy weights, buffers and momenta of all surrogates to the CPU."""
        return {
            f"{_prefix(name)}{key}": value
            for name, learner in self.learners.items()
            for key, value in learner.state().items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `state` returned; other tensors in the mapping are ignored."""
        for name, learner in self.learners.items():
            prefix = _prefix(name)
            own = {key.removeprefix(prefix): of for key, of in tensors.items() if key.startswith(prefix)}
            learner.restore(own)


def _prefix(name: str) -> str:
    """Return the prefix of an attacker's tensors; empty for the plain one."""
    return "" if name == PLAIN else f"against.{name}."
