"""What a learned matrix minimizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # plug-ins are read where nothing is computed
    from torch import Tensor


class Objective(NamedTuple):
    """What a learned matrix T minimizes: `weight · align(p, T) + (1 − weight) · mislead(f_θ'(x), p)`.

    The clone f_θ' has been trained on `release(p, T)`.

    Attributes:
        release: of clean posteriors, (B, K), and T, (K, K): released answers, (B, K).
        weight: in [0, 1].
        align: of clean posteriors, (B, K), and T, (K, K): a scalar.
        mislead: of a clone's logits, (B, K), and clean posteriors, (B, K): a scalar.
    """

    release: Callable[[Tensor, Tensor], Tensor]
    weight: float
    align: Callable[[Tensor, Tensor], Tensor]
    mislead: Callable[[Tensor, Tensor], Tensor]
