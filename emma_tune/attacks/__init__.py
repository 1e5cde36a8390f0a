"""Attacks: what an attacker makes of the answers it gets. One file each, one row each in this table.

An attack turns answers into targets and a loss; training the clone on them is `stages/attacker.py`. Attacks know
neither images nor studies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the table is read where nothing is computed
    from torch import Tensor

    from emma_tune.attacks.lesson import Lesson, Loot


@dataclass(frozen=True)
class Attack:
    """A kind of attack.

    Attributes:
        where: `module:function`, what the attacker got (`Loot`) → what its clone is trained on (`Lesson`).
        knows: what it is assumed to know or to have.
        needs_matrix: there is nothing to attack unless the defense is a matrix.
        asks_views: asks augmented views of each query, and uses the mean of their answers.
    """

    where: str
    knows: str
    needs_matrix: bool = False
    asks_views: bool = False


_HERE = "emma_tune.attacks"

ATTACKS: dict[str, Attack] = {
    "soft": Attack(f"{_HERE}.soft:learn", "the answers"),
    "hard": Attack(f"{_HERE}.hard:learn", "the answers"),
    "inverse": Attack(f"{_HERE}.inverse:learn", "the answers and the matrix T", needs_matrix=True),
    "forward": Attack(f"{_HERE}.forward:learn", "the answers and the matrix T", needs_matrix=True),
    "estimated": Attack(f"{_HERE}.estimated:learn", "the answers, and those to five labeled images a class"),
    "smoothed": Attack(f"{_HERE}.smoothed:learn", "the answers to several views of each query", asks_views=True),
}
"""By name."""


PLAIN = "soft"
"""The attacker that trains on the answers as they are."""

AGAINST = {name: f"{_HERE}.against:{name}" for name in (PLAIN, "inverse", "bayes")}
"""Attackers that T can be learned against: where what their clones train on is a function of T."""


def guess_of(name: str) -> Callable[..., Tensor]:
    """Return the function of a row of `AGAINST`."""
    return cast("Callable[..., Tensor]", resolve_name(AGAINST[name]))


def learn(kind: str, loot: Loot) -> Lesson:
    """Return what the clone of an attacker is trained on.

    Args:
        kind: one of `ATTACKS`.
        loot: what the attacker got.
    """
    return cast("Callable[[Loot], Lesson]", resolve_name(ATTACKS[kind].where))(loot)
