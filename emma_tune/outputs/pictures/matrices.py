"""The learned transition matrices T, from the smallest budget to the largest. One picture for each study.

Those on its own front, chosen by validation figures; if it has fewer than four, all that are finished, also
those of stopped points. More than twelve are shown by twelve, at even distances in the order of budgets. T[i, j]
is the share of class i's probability that is released as class j's. Boxes mark the largest entries off the
diagonal: the classes that trade most. Matrices are those of the first seed.

matrices.csv has the points, matrices-entries.csv every T, matrices-spectrum.csv their singular values and
matrices-trades.csv the largest entries off the diagonals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.points import PointRow, budget_of, cheap_first, fronts_of, point_rows
from emma_tune.results import StudyView
from emma_tune.stages.metrics import significant
from emma_tune.study.file import StudyError

FEW = 4  # members of the front below which all matrices are drawn
TRADES = 5  # marked entries off a diagonal

Matrices = Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""T, (K, K), and its singular values, (K,), largest first, by point."""


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    chosen = chosen_rows(view)
    matrices = _load(view, chosen)
    drawn = [row for row in chosen if row.point.number in matrices]
    tables = {
        "": _points_table(view, drawn),
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
    if not drawn:
        return nothing(view, "no finished matrix in the store", tables)
    lines, columns = style.grid(len(drawn))
    figure = style.Figure(figsize=(max(7.5, 2.75 * columns), 3.4 * lines + 3.4), layout="constrained")
    figure.suptitle(style.heading(view))
    above, below = figure.subfigures(2, 1, height_ratios=[3.4 * lines, 3.4], squeeze=False).flat
    cells = style.panels(above, len(drawn))
    largest = max(float(T.max()) for T, _ in matrices.values())
    for axes, row in zip(cells, drawn, strict=True):
        image = _draw_matrix(axes, matrices[row.point.number][0], largest)
        stopped = ", stopped" if row.stopped else ""
        axes.set_title(f"{style.named(row.point)}\n{budget_of(view.study, row.test)}{stopped}", fontsize=8)
    for axes in cells[::columns]:
        axes.set_ylabel("from class i")
    above.colorbar(image, ax=cells, label="T[i, j], root scale", shrink=0.8, aspect=30)
    _draw_spectra(view, below.subplots(), drawn, matrices)
    return Picture(figure, tables)


def chosen_rows(view: StudyView) -> list[PointRow]:
    """Choose the points to draw, in the order of their budgets on test images."""
    learned = view.study.defense.kind
    known = [row for row in point_rows(view) if row.point.defense == learned and row.test]
    members = [row for row in known if row.point.number in fronts_of(view, None)[learned]]
    chosen = known if len(members) < FEW else members
    return style.evenly(sorted(chosen, key=lambda row: cheap_first(view.study, row.test)))


def trades(T: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """List the largest entries off the diagonal of T, (K, K): from class, to class, share."""
    off = T.copy()
    np.fill_diagonal(off, -1.0)
    order = np.argsort(-off, axis=None, kind="stable")[: min(TRADES, T.size - len(T))]
    return [(int(i), int(j), float(T[i, j])) for i, j in zip(*np.unravel_index(order, T.shape), strict=True)]


def _load(view: StudyView, rows: Sequence[PointRow]) -> Matrices:
    matrices = {}
    for number in (row.point.number for row in rows):
        with contextlib.suppress(StudyError):  # the store has lost it
            tensors = view.artifact(number, "responses").tensors
            matrices[number] = tensors["matrix"].double().numpy(), tensors["singular_values"].double().numpy()
    return matrices


def _points_table(view: StudyView, rows: Sequence[PointRow]) -> pd.DataFrame:
    known: list[dict[str, Any]] = [
        {"point": row.point.number, "state": view.state(row.point), **row.point.params}
        | {name: row.test.get(name) for name in view.study.measures}
        for row in rows
    ]
    return pd.DataFrame(known) if known else pd.DataFrame(columns=["point", "state", *view.study.measures])


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
    largest_trades = ", ".join(f"{i}→{j} {share:.2f}" for i, j, share in trades(T)[:3])
    axes.set_xlabel(f"to class j; largest\n{largest_trades}", fontsize=8)
    return image


def _draw_spectra(view: StudyView, axes: Axes, rows: Sequence[PointRow], matrices: Matrices) -> None:
    for place, (row, color) in enumerate(zip(rows, palette.ramp(len(rows)), strict=True)):
        values = significant(matrices[row.point.number][1])
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=color,
            marker=style.MARKERS[place % len(style.MARKERS)] if len(values) <= 20 else "",
            markersize=4,
            linestyle=style.LINES[place % len(style.LINES)],
            label=f"point {row.point.number}, {budget_of(view.study, row.test)}",
        )
    axes.set_yscale("log")
    axes.set_title("nonzero singular values: who knows T can undo it if there are K of them")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("place")
    axes.set_ylabel("singular value of T")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
