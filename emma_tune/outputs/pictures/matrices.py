"""EMMA's transition matrices T, from the smallest budget to the largest. One picture a study.

Those on EMMA's own front, chosen by validation figures; if it has fewer than four, all that are finished, also
those of stopped points. More than twelve are shown by twelve, at even distances in the order of budgets. T[i, j]
is the share of class i's probability that is released as class j's. Boxes mark the largest entries off the
diagonal: the classes that trade most. Matrices are those of the first seed.

matrices.csv has the points, matrices-entries.csv every T, matrices-spectrum.csv their singular values and
matrices-trades.csv the largest entries off the diagonals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.report.rows import cheap_first
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.study.file import StudyError
from emma_tune.study.measures import MEASURES, value_of

FEW = 4
"""Members of the front below which all matrices are drawn."""

TRADES = 5
"""Marked entries off a diagonal."""

Costs = Mapping[str, Any]
"""Test figures of a point by measure; of a stopped one without those of its clones."""

Matrices = Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""T, (K, K), and its singular values, (K,), largest first, by point."""


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    points = chosen(view)
    matrices = _load(view, [point for point, _ in points])
    points = [(point, costs) for point, costs in points if point.number in matrices]
    tables = {
        "": _points_table(view, points),
        "entries": _entries_table(matrices),
        "spectrum": pd.DataFrame(
            [(n, place, value) for n, (_, values) in matrices.items() for place, value in enumerate(values, 1)],
            columns=("point", "place", "singular_value"),
        ),
        "trades": pd.DataFrame(
            [(n, rank, *trade) for n, (T, _) in matrices.items() for rank, trade in enumerate(trades(T), 1)],
            columns=("point", "rank", "from", "to", "share"),
        ),
    }
    if not points:
        return nothing(view, "no matrix is finished yet", tables)
    rows, columns = style.grid(len(points))
    figure = Figure(figsize=(max(7.5, 2.75 * columns), 3.4 * rows + 3.4), layout="constrained")
    figure.suptitle(style.heading(view))
    above, below = figure.subfigures(2, 1, height_ratios=[3.4 * rows, 3.4], squeeze=False).flat
    cells = style.panels(above, len(points))
    largest = max(float(T.max()) for T, _ in matrices.values())
    for axes, (point, costs) in zip(cells, points, strict=True):
        image = _draw_matrix(axes, matrices[point.number][0], largest)
        stopped = ", stopped" if view.state(point) == "dominated" else ""
        axes.set_title(f"{style.named(point)}\n{style.cost(view, costs)}{stopped}", fontsize=8)
    for axes in cells[::columns]:
        axes.set_ylabel("from class i")
    above.colorbar(image, ax=cells, label="T[i, j], root scale", shrink=0.8, aspect=30)
    _draw_spectra(view, below.subplots(), points, matrices)
    return Picture(figure, tables)


def chosen(view: StudyView) -> list[tuple[Point, Costs]]:
    """Choose the points to draw, in the order of their budgets on test images."""
    points: list[tuple[Point, Costs]] = [
        (point, of["test"]) for point, of in view.members(defenses={view.study.defense.kind})
    ]
    if len(points) < FEW:
        own = [point for point in view.ledger.points.values() if point.defense == view.study.defense.kind]
        points = [(point, costs) for point in own if (costs := _costs(view, point))]
    study = view.study
    return style.evenly(sorted(points, key=lambda of: cheap_first(study, value_of(of[1], study.budget))))


def _costs(view: StudyView, point: Point) -> Costs:
    """Return what is known of a point's test figures: nothing before its matrix is finished."""
    figures, outcome = view.figures(point), view.outcomes.get(point.number)
    if figures:
        return dict(figures["test"])
    return outcome.bounds["test"] if outcome and outcome.bounds else {}


def trades(T: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """List the largest entries off the diagonal of T, (K, K): from class, to class, share."""
    off = T.copy()
    np.fill_diagonal(off, -1.0)
    order = np.argsort(-off, axis=None, kind="stable")[: min(TRADES, T.size - len(T))]
    return [(int(i), int(j), float(T[i, j])) for i, j in zip(*np.unravel_index(order, T.shape), strict=True)]


def _load(view: StudyView, points: Sequence[Point]) -> Matrices:
    matrices = {}
    for point in points:
        try:
            tensors = view.artifact(point.number, "responses").tensors
        except StudyError:  # the store has lost it
            continue
        matrices[point.number] = tensors["matrix"].double().numpy(), tensors["singular_values"].double().numpy()
    return matrices


def _points_table(view: StudyView, points: Sequence[tuple[Point, Costs]]) -> pd.DataFrame:
    rows = [
        {
            "point": point.number,
            "state": view.state(point),
            **point.params,
            **{name: costs.get(name) for name in MEASURES},
        }
        for point, costs in points
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["point", "state", *MEASURES])


def _entries_table(matrices: Matrices) -> pd.DataFrame:
    tables = []
    for number, (T, _) in matrices.items():
        i, j = np.indices(T.shape)
        tables.append(pd.DataFrame({"point": number, "from": i.ravel(), "to": j.ravel(), "share": T.ravel()}))
    return pd.concat(tables) if tables else pd.DataFrame(columns=["point", "from", "to", "share"])


def _draw_matrix(axes: Axes, T: NDArray[np.float64], largest: float) -> object:
    small_too = PowerNorm(0.5, vmin=0, vmax=largest)  # entries off the diagonal are small
    image = axes.imshow(T, cmap="Blues", norm=small_too)
    for i, j, _ in trades(T):
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=palette.VERMILION, linewidth=1.4))
    axes.grid(visible=False)
    step = max(1, len(T) // 10)
    axes.set_xticks(range(0, len(T), step))
    axes.set_yticks(range(0, len(T), step))
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel(
        "to class j; largest\n" + ", ".join(f"{i}→{j} {share:.2f}" for i, j, share in trades(T)[:3]),
        fontsize=8,
    )
    return image


def _draw_spectra(view: StudyView, axes: Axes, points: Sequence[tuple[Point, Costs]], matrices: Matrices) -> None:
    for place, ((point, costs), color) in enumerate(zip(points, palette.ramp(len(points)), strict=True)):
        values = matrices[point.number][1]
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=color,
            marker=style.MARKERS[place % len(style.MARKERS)] if len(values) <= 20 else "",
            markersize=4,
            linestyle=style.LINES[place % len(style.LINES)],
            label=f"point {point.number}, {style.cost(view, costs)}",
        )
    axes.set_yscale("log")
    axes.set_title("singular values: an attacker who knows T can undo it if none is 0")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("place")
    axes.set_ylabel("singular value of T")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
