"""Defences: what is released instead of the clean posteriors p. One file each, one line each in this table."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor

BASELINES: dict[str, str] = {
    "none": "emma_tune.defenses.none:release",
    "argmax": "emma_tune.defenses.argmax:release",
}
"""Defences without a parameter, by name → where `release` lives: posteriors (N, K) → responses (N, K)."""


def release(baseline: str, posteriors: Tensor) -> Tensor:
    """Answers under a baseline defence.

    Args:
        baseline: one of `BASELINES`.
        posteriors: p, (N, K).

    Returns:
        p', (N, K) distributions.
    """
    module, _, function = BASELINES[baseline].partition(":")
    return cast("Callable[[Tensor], Tensor]", getattr(import_module(module), function))(posteriors)
