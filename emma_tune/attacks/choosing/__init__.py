"""Ways to choose the next queries of the pool. One file each, one row each in this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the table is read where nothing is computed
    from torch import Tensor

    from emma_tune.attacks.choosing.candidates import Candidates


@dataclass(frozen=True)
class Choice:
    """A way to choose queries.

    Attributes:
        where: `module:function`, (`Candidates`, how many) → their rows, (count,) int64.
        about: which queries it chooses.
        passes: forward passes that it costs per candidate.
    """

    where: str
    about: str
    passes: int = 1


CHOICES: dict[str, Choice] = {
    "entropy": Choice(f"{__name__}.entropy:choose", "the most uncertain"),
    "k_center": Choice(f"{__name__}.k_center:choose", "those that cover the others"),
    "dfal": Choice(
        f"{__name__}.deepfool:choose",
        "the nearest to a decision boundary",
        passes=20,  # about two steps of ten gradients, as measured
    ),
}
"""By name."""


def choose(name: str, candidates: Candidates, count: int) -> Tensor:
    """Return the rows of the candidates to ask next, (count,) int64.

    Args:
        name: one of `CHOICES`.
        candidates: queries that were not asked yet.
        count: how many rows, at most the number of candidates.
    """
    return cast("Callable[[Candidates, int], Tensor]", resolve_name(CHOICES[name].where))(candidates, count)
