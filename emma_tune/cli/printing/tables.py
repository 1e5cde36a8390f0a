"""Tables that fit a terminal, and a file."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def table(*columns: str, left: Collection[str] = (), title: str | None = None) -> Table:
    """Begin a table without rows: columns of text are aligned left, the others, of numbers, right."""
    from rich.table import Table

    begun = Table(title=title, box=None, title_justify="left")
    for column in columns:
        begun.add_column(column, justify="left" if column in left else "right")
    return begun


def show(table: Table) -> None:
    """Print a table as wide as the terminal, or 200 wide if the output is not one."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)  # names mean what they say
    console.width = _fit(table, console.width if console.is_terminal else 200)
    console.print(table)


def _fit(table: Table, width: int) -> int:
    """Set the widths of columns so that no number or path is broken; return how wide the output must be."""
    columns = table.columns
    texts = [[str(text) for text in (column.header, *column.cells)] for column in columns]
    widths = [max(map(len, column)) for column in texts]
    least = [max(map(len, " ".join(column).split()), default=0) for column in texts]
    if sum(least) + 2 * len(columns) > width:
        table.padding = (0, 1, 0, 0)
    padding = len(columns) * (table.padding[1] + table.padding[3])
    while sum(widths) > max(width - padding, sum(least)):  # text first, then numbers with their intervals
        wide = (index for index in range(len(columns)) if widths[index] > least[index])
        widest = max(wide, key=lambda index: (columns[index].justify == "left", widths[index] - least[index]))
        widths[widest] -= 1
    for column, fitted in zip(columns, widths, strict=True):
        column.width = fitted
    return max(width, sum(widths) + padding)
