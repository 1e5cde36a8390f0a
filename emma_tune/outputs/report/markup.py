"""Pieces of HTML. All text of a study is escaped here, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import repeat
from typing import Any, NamedTuple

NUMBERS = re.compile(r"(?:\d+\.\d to )?\d+\.\d (?:%|points\b)|l1 \d\.\d+")
"""Numbers that stand out in a sentence: shares, differences, budgets."""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        shown: its text.
        value: what it is sorted by; the text if None.
        markup: whether the text is HTML already.
    """

    shown: str
    value: float | str | None = None
    markup: bool = False


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its heading.
        number: whether it holds numbers, which stand on the right.
    """

    name: str
    number: bool = False


MISSING = Cell("–", "")
"""A missing value; sorted behind all others."""


def number(value: float | None, shown: str) -> Cell:
    """Make a cell of a number, shown in a format like `{:.3f}`."""
    return MISSING if value is None else Cell(shown.format(value), value)


def strong(sentence: str) -> str:
    """Escape a sentence and make its numbers stand out."""
    return NUMBERS.sub(lambda match: f"<strong>{match[0]}</strong>", escape(sentence))


def paragraphs(sentences: Iterable[str]) -> str:
    """Escape sentences and make each a paragraph."""
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def definitions(pairs: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Escape terms and their definitions and list them."""
    items = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in pairs)
    return f'<dl class="{kind}">{items}</dl>'


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    name: str = "",
    sortable: bool = False,
    marks: Sequence[str] = (),
) -> str:
    """Make a table in a box of its own, which scrolls where the page is too narrow.

    Args:
        caption: what it shows.
        columns: its head.
        rows: its cells; the first of each is a heading.
        name: its id, if any.
        sortable: whether its headings are buttons.
        marks: attributes of each row, already escaped; none if left out.
    """
    head = "".join(_heading(column, sortable) for column in columns)
    body = "".join(_row(row, columns, mark) for row, mark in zip(rows, marks or repeat(""), strict=False))
    identity = f' id="{name}"' if name else ""
    return (
        f'<p class="quiet">{escape(caption)}</p>'  # a caption would scroll away with the table
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table{identity} aria-label="{escape(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Cell], columns: Sequence[Column], mark: str) -> str:
    pairs = enumerate(zip(row, columns, strict=True))
    cells = (_cell(cell, column, first=place == 0) for place, (cell, column) in pairs)
    return f"<tr{mark and ' '}{mark}>{''.join(cells)}</tr>"


def _heading(column: Column, sortable: bool) -> str:
    kind = ' class="number"' if column.number else ""
    if not sortable:
        return f'<th scope="col"{kind}>{escape(column.name)}</th>'
    return f'<th scope="col"{kind} aria-sort="none"><button type="button">{escape(column.name)}</button></th>'


def _cell(cell: Cell, column: Column, *, first: bool) -> str:
    tag = 'th scope="row"' if first else "td"
    kind = ' class="number"' if column.number else ""
    value = "" if cell.value is None else f' data-value="{escape(str(cell.value))}"'
    return f"<{tag}{kind}{value}>{cell.shown if cell.markup else escape(cell.shown)}</{tag[:2]}>"


def embedded(content: Any) -> str:
    """Write JSON for a script element; no text in it can end that element."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
