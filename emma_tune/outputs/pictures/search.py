"""How a search went, and what its hyperparameters did. One picture for each study.

Above, the hypervolume of the front after each point and by computing time, with points in the order of the
ledger: of all defenses together, and of each searched defense alone. Points that were stopped or failed count as
points and cost their seconds; unfinished points do not count yet. The front is chosen by validation figures and
measured by test figures, as `emma-tune front` does, so that a step down is possible.

In the middle, which hyperparameters mattered (fANOVA, Hutter et al. 2014), by validation figures, as seen by
the search. Below, the hyperparameters of the learned defense against the worst clone and against the budget.

search.csv has the hypervolumes, search-importance.csv and search-slices.csv the rest.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import LogLocator, NullFormatter

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.importance import EACH, importance_table
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.points import point_rows
from emma_tune.results import StudyView
from emma_tune.results.figures import Figures
from emma_tune.results.front import as_losses, hypervolume, nondominated
from emma_tune.results.stops import STOPS
from emma_tune.study import Dimension, WholeChoice
from emma_tune.study.measures import measure

ALL = "all"  # names all defenses together
AT_LEAST = "at_least"  # column: what the clones of a stopped point had reached, on validation images

STOPPED: dict[str, Any] = {
    "linestyle": "none",
    "marker": "^",
    "color": palette.GRAY,
    "markersize": 5,
    "markerfacecolor": "white",
}
"""The look of stopped points."""


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    worth, importance, slices = worth_table(view), importance_table(view), slices_table(view)
    tables = {"": worth, "importance": importance, "slices": slices}
    if worth.empty:
        return nothing(view, "no point is finished yet", tables)
    heights = [3.3, 1.2 + 0.3 * importance.importance.notna().sum() / len(view.study.objectives)]
    heights += [] if slices.empty else [5.6]
    figure = style.Figure(figsize=(11, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(style.heading(view))
    above, middle, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    _draw_worth(worth, above)
    _draw_importance(view, importance, middle)
    for part in below:
        _draw_slices(view, slices, part)
    return Picture(figure, tables)


# --- what the front was worth -----------------------------------------------------------------------------


def worth_table(view: StudyView) -> pd.DataFrame:
    """Measure the front after each point that has ended.

    Columns: `defense` (all, or one that is searched), `point`, `points` (of that defense so far), `seconds`
    (of all stages that they needed, each once), `hypervolume` (test figures), `hypervolume_validation`.
    """
    rows = []
    table = view.tasks()
    seconds = dict(zip(table.key, table.seconds, strict=True)) if len(table) else {}
    for defense in (ALL, *view.study.searches):
        front: list[Figures] = []
        used: set[str] = set()
        ended = [
            point
            for point in view.ledger.points.values()
            if defense in (ALL, point.defense) and view.state(point) != "unfinished"
        ]
        for count, point in enumerate(ended, start=1):
            used |= view.planner.point(point).tasks.keys() & seconds.keys()
            figures = view.figures(point)
            if figures and view.within_limits(point):
                front = _front(view, [*front, figures])
            worth = [
                hypervolume([of[part] for of in front], view.study.objectives) for part in ("test", "validation")
            ]
            rows.append((defense, point.number, count, math.fsum(seconds[key] for key in used), *worth))
    columns = ("defense", "point", "points", "seconds", "hypervolume", "hypervolume_validation")
    return pd.DataFrame(rows, columns=columns)


def _front(view: StudyView, points: list[Figures]) -> list[Figures]:
    kept = nondominated(as_losses([figures["validation"] for figures in points], view.study.objectives))
    return [figures for figures, keep in zip(points, kept, strict=True) if keep]


def _draw_worth(worth: pd.DataFrame, part: SubFigure) -> None:
    left, right = part.subplots(1, 2, sharey=True)
    a_unit, unit = style.time_unit(worth.seconds.max())
    for place, defense in enumerate(worth.defense.unique()):
        rows = worth[worth.defense == defense]
        look = {"color": palette.BLACK, "marker": ""} if defense == ALL else style.mark(defense)
        look |= {"markersize": 4, "linestyle": style.LINES[place % len(style.LINES)], "where": "post"}
        label = "all defenses" if defense == ALL else f"{defense} alone"
        left.step(rows.points, rows.hypervolume, label=label, **look)
        right.step(rows.seconds / a_unit, rows.hypervolume, **look)
    left.set_xlabel("points, in the order of the ledger")
    left.set_ylabel("hypervolume of the front")
    left.legend(loc="lower right")
    right.set_xlabel(f"computing time, {unit} of all stages together")
    right.tick_params(labelleft=True)
    left.set_title("hypervolume of the front, by points")
    right.set_title("and by time")


# --- importance -------------------------------------------------------------------------------------------


def _draw_importance(view: StudyView, importance: pd.DataFrame, part: SubFigure) -> None:
    for axes, objective in zip(
        part.subplots(1, len(view.study.objectives), squeeze=False).flat, view.study.objectives, strict=True
    ):
        axes.set_title(f"what mattered for: {measure(objective).label}")
        rows = importance[importance.objective == objective]
        shown = rows[rows.importance.notna()][::-1]
        axes.set_xlim(0, 1)
        if shown.empty:
            axes.set_axis_off()
            axes.text(0.5, 0.5, _too_few(rows), transform=axes.transAxes, ha="center", color=palette.GRAY)
            continue
        several = importance.defense.nunique() > 1
        names = [f"{row.defense}: {row.parameter}" if several else row.parameter for row in shown.itertuples()]
        axes.barh(names, shown.importance, color=[palette.defense(defense).color for defense in shown.defense])
        axes.set_xlabel("share of the variance, by validation figures")
        axes.grid(axis="y", visible=False)


def _too_few(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "nothing was searched: all values are fixed"
    if len(rows) == 1:
        return f"only {rows.parameter.item()} was searched"
    return f"too few points: {rows.points.max()} known, {EACH} needed for each hyperparameter"


# --- slices -----------------------------------------------------------------------------------------------


def slices_table(view: StudyView) -> pd.DataFrame:
    """List finished and stopped points of the learned defense, with bounds of the clones of the latter."""
    study = view.study
    columns = ["point", "state", *study.searches[study.defense.kind].space, "within_limits", "on_own_front"]
    columns += [study.budget, study.attack, AT_LEAST]
    points = view.points().reindex(columns=["defense", *columns])
    points[AT_LEAST] = [row.bound(study.attack) for row in point_rows(view)]
    return points[(points.defense == study.defense.kind) & points.state.isin(["finished", *STOPS])][columns]


def _draw_slices(view: StudyView, slices: pd.DataFrame, part: SubFigure) -> None:
    defense = view.study.defense.kind
    space = view.study.searches[defense].space
    varied = {name: dimension for name, dimension in space.items() if slices[name].nunique() > 1}
    space = varied or space
    grid = part.subplots(2, len(space), sharex="col", sharey="row", squeeze=False)
    for row, of in zip(grid, (view.study.attack, view.study.budget), strict=True):
        for axes, (name, dimension) in zip(row, space.items(), strict=True):
            _draw_slice(defense, slices, axes, name, of)
            _scale(axes, dimension)
        row[0].set_ylabel(style.short_label(of))
        if measure(of).unit:
            style.widen(row[0], "y")
    for axes, (name, dimension) in zip(grid[1], space.items(), strict=True):
        fixed = ", fixed" if len(dimension.grid()) == 1 else ""
        axes.set_xlabel(f"{'λ' if name == 'lambda' else name}{', epochs' if name == 'st_epoch' else ''}{fixed}")
    grid[0][0].set_title(f"points of {defense}")
    part.align_ylabels(grid[:, 0])
    style.tidy_key(part, _key(defense, slices))


def _draw_slice(defense: str, slices: pd.DataFrame, axes: Axes, name: str, of: str) -> None:
    size = measure(of).scale
    for kept in (True, False):
        rows = slices[(slices.state == "finished") & (slices.within_limits == kept)]
        axes.plot(rows[name], size * rows[of], **style.mark(defense, hollow=not kept))
    stopped = slices[slices.state.isin(STOPS)]
    axes.plot(stopped[name], size * stopped[AT_LEAST if measure(of).of_clones else of], **STOPPED)
    front = slices[slices.on_own_front == True]  # noqa: E712
    axes.plot(front[name], size * front[of], **style.ring())


def _scale(axes: Axes, dimension: Dimension | WholeChoice) -> None:
    if isinstance(dimension, WholeChoice):
        axes.set_xticks(sorted(dimension.choices))
    elif _logarithmic(dimension):
        low, high = dimension.bounds
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 3.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _logarithmic(dimension: Dimension) -> bool:
    """Say whether a range is on a log scale, or choices are as far apart as on one."""
    low, high = dimension.bounds
    return dimension.log or (dimension.choices is not None and 0 < 20 * low <= high)


def _key(defense: str, slices: pd.DataFrame) -> list[Any]:
    finished = slices[slices.state == "finished"]
    entries = [
        ("within the limits", finished.within_limits.any(), style.mark(defense, hollow=False)),
        ("beyond the limits", not finished.within_limits.all(), style.mark(defense, hollow=True)),
        ("stopped, at what its clones had reached", len(finished) < len(slices), STOPPED),
        (f"on {defense}’s front", slices.on_own_front.any(), style.ring(9)),
    ]
    return [style.key(label, **line) for label, there, line in entries if there]
