"""How pictures look: sizes, marks, names and units; colors are those of the palette.

A marker or a line style repeats what each color says: the pictures can be read in black-and-white print.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import Any, TypeVar

import matplotlib as mpl
import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase, SubFigure
from matplotlib.lines import Line2D

from emma_tune.outputs import palette
from emma_tune.outputs.words import parameter, plural, second_step, ungated, where
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.study.measures import measure

Item = TypeVar("Item")

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "pdf.fonttype": 42,  # letters stay letters
}
"""Matplotlib's settings while a picture is drawn and saved."""

styled = mpl.rc_context(RC)
"""Decorates a function that draws."""

NOTEBOOK_DPI = 90

KEY_LINE, KEY_LETTER = 0.55, 0.065
"""Inches in a legend: of the line before a label with its margins, and of a letter on average."""


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        shown = BytesIO()
        with mpl.rc_context(RC):
            self.savefig(shown, format="png", dpi=NOTEBOOK_DPI)
        return shown.getvalue()


LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 0.8)))
MARKERS = "osD^vP"
_HUES = (palette.BLUE, palette.VERMILION, palette.GREEN, palette.ORANGE, palette.PURPLE)
COLORS = (*_HUES, palette.SKY, palette.BLACK)
"""Colors of studies side by side, in this order."""

MOST_PANELS = 12  # small multiples in one picture
TITLE, SIDE = 30, 30  # characters of a line above a small multiple, and of one beside a small axis

ACROSS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 3, 6: 3}
"""Columns by the number of small multiples; 4 for more."""


def heading(view: StudyView) -> str:
    """Name a study and say how far it is."""
    counts = view.counts()
    by_state = {"finished": counts["finished"], "stopped": counts["stopped"], "failed": counts["failed"]}
    states = [f"{count} {state}" for state, count in by_state.items() if count or state == "finished"]
    running = ", running" if view.folder.driver() else ""
    return f"{view.study.name}: {plural(counts['asked'], 'point')}, {', '.join(states)}{running}"


def named(point: Point) -> str:
    """Name a point in short lines: number and defense, parameters."""
    unbroken = "\N{NO-BREAK SPACE}"
    params = [
        f"{'λ' if name == 'lambda' else name}{unbroken}{parameter(value, '.3g')}"
        for name, value in ungated(point.params).items()
    ]
    params += [where(point.params).replace(" ", unbroken), second_step(point.params).removeprefix(", ")]
    return "\n".join(
        [f"point {point.number}, {point.defense}", *textwrap.wrap(", ".join(filter(None, params)), TITLE)]
    )


def short_label(name: str) -> str:
    """Label a small vertical axis with a measure, in lines that fit."""
    return "\n".join(textwrap.wrap(measure(name).axis(), SIDE))


def attacker_line(view: StudyView, name: str) -> dict[str, Any]:
    """Return the line of an attacker: color by its kind, style by its place, so that two of a kind differ."""
    place = list(view.study.attackers).index(name)
    return {"color": palette.attacker(view.study.attackers[name].kind), "linestyle": LINES[place % len(LINES)]}


def mark(defense: str, *, hollow: bool = False) -> dict[str, Any]:
    """Return the look of points of a defense."""
    color, marker, _ = palette.defense(defense)
    return {"linestyle": "none", "marker": marker, "color": color, "markerfacecolor": "white" if hollow else color}


def level(line: str) -> dict[str, Any]:
    """Return the look of a level: dashed without a defense, dotted for guessing."""
    return {"color": palette.BLACK, "linestyle": line, "linewidth": 0.9 if line == "--" else 1.2}


def ring(size: float = 11) -> dict[str, Any]:
    """Return the look of a ring around members of the front."""
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": size,
        "markerfacecolor": "none",
        "markeredgecolor": palette.BLACK,
        "markeredgewidth": 0.9,
    }


def key(label: str, **line: Any) -> Line2D:
    """Make an entry of a legend."""
    return Line2D([], [], label=label, **line)


def tidy_key(figure: matplotlib.figure.Figure | SubFigure, entries: Sequence[Line2D], *, most: int = 6) -> None:
    """Put one legend for the whole picture below it, in rows of about the same length that fit its width."""
    if entries:
        longest = max(len(str(entry.get_label())) for entry in entries)
        most = max(1, min(most, int(figure.bbox.width / figure.dpi / (KEY_LINE + KEY_LETTER * longest))))
        rows = math.ceil(len(entries) / most)
        figure.legend(handles=list(entries), loc="outside lower center", ncols=math.ceil(len(entries) / rows))


def evenly(items: Sequence[Item], most: int = MOST_PANELS) -> list[Item]:
    """Pick at most `most` items of a sequence, at even distances and with both ends."""
    if len(items) <= most:
        return list(items)
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, most)]


def grid(count: int) -> tuple[int, int]:
    """Return rows and columns for a number of small multiples."""
    columns = ACROSS.get(count, 4)
    return math.ceil(count / columns), columns


def panels(figure: FigureBase, count: int, **shared: Any) -> list[Axes]:
    """Make `count` axes in a grid, with labels for the caller to set; spare cells stay empty."""
    rows, columns = grid(count)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).flat
    for spare in axes[count:]:
        spare.set_axis_off()
    for above in axes[max(0, count - columns) : count]:
        above.tick_params(labelbottom=True)  # the cell below it may be empty
    return list(axes[:count])


def widen(axes: Axes, which: str) -> None:
    """Widen a narrow axis of accuracies, x or y, from the limits of its data, so that chance does not fill it."""
    low, high = getattr(axes, f"get_{which}lim")()
    missing = palette.NARROWEST - (high - low)
    if missing > 0:
        top = max(high, min(high + missing / 2, 100.5))
        getattr(axes, f"set_{which}lim")(top - palette.NARROWEST, top)


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds in a unit that suits such a time, and its name."""
    return (3600.0, "hours") if seconds > 3 * 3600 else (60.0, "minutes") if seconds > 300 else (1.0, "seconds")
