"""Tables that fit a terminal, and a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def show(table: Table) -> None:
    """Prints a table: as wide as the terminal, or as it needs to be where nobody looks."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)  # names mean what they say
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=200, markup=False, emoji=False).print(table)


def counted(points: Mapping[str, int]) -> str:
    """Say how many points came to what."""
    return (
        f"{points['asked']} asked, {points['finished']} finished ({points['infeasible']} beyond the limits), "
        f"{points['dominated']} dominated, {points['failed']} failed"
    )


def percent(share: float) -> str:
    """0.987 as 98.7 %."""
    return f"{100 * share:.1f} %"


def listed(items: Sequence[str]) -> str:
    """Join items: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def plural(count: int, noun: str) -> str:
    """Count things: 1 point, 12 points."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def parameters(params: Mapping[str, Any]) -> str:
    """Write the parameters of a defense in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())
