"""How the pictures of `analysis` look: sizes, marks, names and units; colors are those of `report.palette`.

Whatever a color tells, a marker or a line style tells, too: the pictures can be read in black-and-white print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from emma_tune.plan import Point
from emma_tune.report import palette
from emma_tune.results import StudyView
from emma_tune.study_file import StudyError

Item = TypeVar("Item")

RC: dict[str, Any] = {
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
    "pdf.fonttype": 42,  # letters stay letters
    "savefig.dpi": 150,
}
"""Matplotlib's settings while a picture is drawn and saved."""

LABELS = {
    "l1": "budget on test data: mean ‖p′ − p‖₁",
    "l1_queries": "budget on the query pool: mean ‖p′ − p‖₁",
    "victim_accuracy": "victim accuracy, %",
    "accuracy_drop": "victim's accuracy drop, points",
    "attacker_accuracy": "worst clone accuracy, %",
    "flip_rate": "flipped answers, %",
}
"""Of axes, by measure; the figures are those of the test part."""

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
"""For what is neither a defence nor a thief nor a stage, in this order."""

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
"""By stage, white on its color."""

MOST = 12
"""Small multiples in one picture."""

ACROSS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 3, 6: 3}
"""Of so many small multiples in a row; of more four."""


def scale(measure: str) -> float:
    """What a measure is multiplied with to be shown: 100 for rates."""
    return 1.0 if measure.startswith("l1") else 100.0


def heading(view: StudyView) -> str:
    """A study and how far it is."""
    counts = view.counts()
    states = [f"{counts['finished']} of {counts['asked']} points finished"]
    states += [f"{counts[name]} {name}" for name in ("dominated", "failed") if counts[name]]
    return f"{view.study.name}: {', '.join(states)}{', running' if view.folder.driver() else ''}"


def named(point: Point) -> str:
    """A point in two short lines: number and defence, parameters."""
    params = [f"{'λ' if name == 'lambda' else name} {value:.3g}" for name, value in point.params.items()]
    return f"point {point.number}, {point.defense}\n{'  '.join(params)}"


def nothing(view: StudyView, what: str) -> Figure:
    """The picture of a study of which there is nothing to draw."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    figure.suptitle(heading(view))
    figure.text(0.5, 0.45, what, ha="center", va="center", fontsize=11, color=palette.GRAY)
    return figure


def thief_line(view: StudyView, name: str) -> dict[str, Any]:
    """Color of a thief by its kind, line by its place: two of a kind differ by that."""
    kind = view.study.attackers[name].kind
    place = list(view.study.attackers).index(name)
    return {"color": palette.ATTACKS[kind], "linestyle": LINES[place % len(LINES)]}


def ring(size: float = 11) -> dict[str, Any]:
    """Around members of the front."""
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": size,
        "markerfacecolor": "none",
        "markeredgecolor": palette.BLACK,
        "markeredgewidth": 0.9,
    }


def key(label: str, **line: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **line)


def tidy_key(figure: FigureBase, entries: Sequence[Line2D], *, most: int = 6) -> None:
    """One legend for the whole picture, below it, in rows of about the same length."""
    if entries:
        rows = math.ceil(len(entries) / most)
        figure.legend(handles=list(entries), loc="outside lower center", ncols=math.ceil(len(entries) / rows))


def evenly(items: Sequence[Item], most: int = MOST) -> list[Item]:
    """At most so many of a sequence, both ends among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, most)]


def grid(count: int) -> tuple[int, int]:
    """Rows and columns of so many small multiples."""
    columns = ACROSS.get(count, 4)
    return math.ceil(count / columns), columns


def panels(figure: FigureBase, count: int, **shared: Any) -> list[Axes]:
    """So many axes in a grid; cells that are left over stay empty. Outer labels are for the caller."""
    rows, columns = grid(count)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).flat
    for spare in axes[count:]:
        spare.set_axis_off()
    for above in axes[max(0, count - columns) : count]:
        above.tick_params(labelbottom=True)  # nothing stands below it, be it in the last row or not
    return list(axes[:count])


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds a unit, and the unit, fit for so long a time."""
    return (3600.0, "hours") if seconds > 3 * 3600 else (60.0, "minutes") if seconds > 300 else (1.0, "seconds")


def undefended(view: StudyView, attacker: str | None = None) -> float | None:
    """Test accuracy of the clone of an undefended victim, of one thief or of the worst; None if not known."""
    for point in view.ledger.points.values():
        figures = view.figures(point) if point.defense == "none" else None
        if figures:
            test = figures["test"]
            return test["attackers"].get(attacker) if attacker else test["attacker_accuracy"]
    return None


def chance(view: StudyView) -> float | None:
    """1/K, the accuracy of guessing among K classes; None while no answers of a victim are there."""
    for number in view.ledger.points:
        try:
            return 1 / view.artifact(number, "posteriors").tensors["test"].shape[1]
        except StudyError:
            return None  # what the first point stands on is what all stand on
    return None
