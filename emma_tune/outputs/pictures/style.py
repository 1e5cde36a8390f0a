"""How pictures look: sizes, marks, names and units; colors are those of `report.palette`.

Whatever a color says, a marker or a line style says as well: the pictures can be read in black-and-white print.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from emma_tune.outputs import palette
from emma_tune.outputs.report.rows import attack_of, flat
from emma_tune.outputs.words import plural
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.study.measures import measure, value_of

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

LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 0.8)))
MARKERS = "osD^vP"
COLORS = (
    palette.BLUE,
    palette.VERMILION,
    palette.GREEN,
    palette.ORANGE,
    palette.PURPLE,
    palette.SKY,
    palette.BLACK,
)
"""Colors of what is no defense, attacker or stage, in this order."""

HATCHES = {
    "victim": "",
    "posteriors": "....",
    "surrogate": "\\\\\\\\",
    "misinformer": "xxxx",
    "guidance": "++++",
    "matrix": "////",
    "responses": "oo",
    "attacker": "",
    "evaluation": "----",
}
"""Hatches by stage, white on its color."""

MOST = 12
"""Small multiples in one picture."""

TITLE = 30
"""Characters of a line above a small multiple."""

SIDE = 30
"""Characters of a line beside a small axis."""

NARROWEST = 4.0
"""Points of accuracy that an axis shows at least."""

ACROSS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 3, 6: 3}
"""Columns by the number of small multiples; 4 for more."""


def heading(view: StudyView) -> str:
    """Name a study and say how far it is."""
    counts = view.counts()
    words = {"finished": "finished", "dominated": "stopped", "failed": "failed"}
    states = [f"{counts[name]} {word}" for name, word in words.items() if counts[name] or name == "finished"]
    running = ", running" if view.folder.driver() else ""
    return f"{view.study.name}: {plural(counts['asked'], 'point')}, {', '.join(states)}{running}"


def named(point: Point) -> str:
    """Name a point in short lines: number and defense, parameters."""
    unbroken = "\N{NO-BREAK SPACE}"
    params = [f"{'λ' if name == 'lambda' else name}{unbroken}{value:.3g}" for name, value in point.params.items()]
    return "\n".join([f"point {point.number}, {point.defense}", *textwrap.wrap(", ".join(params), TITLE)])


def cost(view: StudyView, figures: Mapping[str, Any]) -> str:
    """Show the budget among the figures of a point: l1 0.412."""
    of = measure(view.study.budget)
    return f"{of.head} {of.shown(value_of(figures, view.study.budget))}"


def short_label(name: str) -> str:
    """Label a small vertical axis with a measure, in lines that fit."""
    return "\n".join(textwrap.wrap(measure(name).axis(), SIDE))


def attacker_line(view: StudyView, name: str) -> dict[str, Any]:
    """Return the line of an attacker: color by its kind, style by its place, so that two of a kind differ."""
    kind = view.study.attackers[name].kind
    place = list(view.study.attackers).index(name)
    return {"color": palette.ATTACKS[kind], "linestyle": LINES[place % len(LINES)]}


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


def tidy_key(figure: FigureBase, entries: Sequence[Line2D], *, most: int = 6) -> None:
    """Put one legend for the whole picture below it, in rows of about the same length."""
    if entries:
        rows = math.ceil(len(entries) / most)
        figure.legend(handles=list(entries), loc="outside lower center", ncols=math.ceil(len(entries) / rows))


def evenly(items: Sequence[Item], most: int = MOST) -> list[Item]:
    """Pick at most so many of a sequence, at even distances and with both ends."""
    if len(items) <= most:
        return list(items)
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, most)]


def grid(count: int) -> tuple[int, int]:
    """Return rows and columns for so many small multiples."""
    columns = ACROSS.get(count, 4)
    return math.ceil(count / columns), columns


def panels(figure: FigureBase, count: int, **shared: Any) -> list[Axes]:
    """Make so many axes in a grid, with labels for the caller to set; spare cells stay empty."""
    rows, columns = grid(count)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).flat
    for spare in axes[count:]:
        spare.set_axis_off()
    for above in axes[max(0, count - columns) : count]:
        above.tick_params(labelbottom=True)  # the cell below it may be empty
    return list(axes[:count])


def widen(axes: Axes, which: str) -> None:
    """Widen a narrow axis of accuracies, so that chance does not fill it.

    Args:
        axes: its limits are those of what is drawn.
        which: x or y.
    """
    low, high = getattr(axes, f"get_{which}lim")()
    missing = NARROWEST - (high - low)
    if missing > 0:
        top = max(high, min(high + missing / 2, 100.5))
        getattr(axes, f"set_{which}lim")(top - NARROWEST, top)


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the seconds in a unit that suits such a time, and its name."""
    return (3600.0, "hours") if seconds > 3 * 3600 else (60.0, "minutes") if seconds > 300 else (1.0, "seconds")


def undefended(view: StudyView, attacker: str | None = None) -> float | None:
    """Return the undefended victim's clone accuracy, of one attacker or of the study's own measure, if known."""
    for point in view.ledger.points.values():
        figures = view.figures(point) if point.defense == "none" else None
        if figures:
            known: float | None = flat(figures["test"]).get(attack_of(view.study, attacker))
            return known
    return None


def chance(view: StudyView) -> float | None:
    """Return 1/K, the accuracy of guessing among K classes; None before a victim has answered."""
    return 1 / view.shapes["test"][1] if view.shapes else None
