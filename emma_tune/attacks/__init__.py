"""Thieves: what each one makes of the answers it gets. One file each, one line each in this table."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor

ATTACKS: dict[str, str] = {
    "soft": "emma_tune.attacks.soft:targets",
    "hard": "emma_tune.attacks.hard:targets",
}
"""Name → where its `targets` lives: responses (N, K) → training targets (N, K)."""


def attack_targets(kind: str, responses: Tensor) -> Tensor:
    """What the clone is trained on.

    Args:
        kind: one of `ATTACKS`.
        responses: (N, K), the released posteriors p' of the query pool.

    Returns:
        (N, K) distributions.
    """
    module, _, function = ATTACKS[kind].partition(":")
    return cast("Callable[[Tensor], Tensor]", getattr(import_module(module), function))(responses)
