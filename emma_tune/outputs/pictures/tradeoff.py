"""What a defense costs against what it buys: every point of a study, and its fronts. One picture a study.

Above, the study's budget and the victim's accuracy against what attackers get, as the study's objectives measure
them; below, against the clone of each attacker. A mark is a point with its test figures; bars are 95 % intervals
of accuracies, or else go from the lowest to the highest seed. The line of a searched defense is its own front,
chosen by validation figures: at each budget the clone of the member that one would take. Rings mark the joint
front of all defenses. An open mark with a tick is a stopped point at what its clones had reached on validation
images: they would have reached more. tradeoff.csv has the points, tradeoff-fronts.csv the members of all fronts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from emma_tune.attacks import ATTACKS
from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.outputs.report.rows import JOINT, Row, attack_of, cheap_first, fronts_of, rows_of
from emma_tune.results import StudyView
from emma_tune.study.measures import MEASURES, measure

NARROW = 0.2
"""Share of an axis below which points within the limits get a stretched axis,"""

WIDE = 10.0
"""if all points together span so many points of accuracy."""

TICK = 7.0
"""Length of the tick of a stopped point, in points of print."""


class Panel(NamedTuple):
    """Axes with their measures, and the attacker whose clone is drawn; None if it is the study's own measure."""

    axes: Axes
    across: str
    up: str
    attacker: str | None


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    rows = rows_of(view)
    tables = {"": points_table(view, rows), "fronts": fronts_table(view, rows)}
    shown = [row for row in rows if row.test]
    if not shown:
        return nothing(view, "no point is finished yet", tables)
    attackers = list(view.study.attackers) if len(view.study.attackers) > 1 else []
    lines, _ = style.grid(len(attackers))
    figure = Figure(figsize=(11, 4.9 + 2.7 * lines), layout="constrained")
    figure.suptitle(style.heading(view))
    heights = [4.1, 2.7 * lines] if attackers else [4.1]
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    panels = [
        Panel(left, view.study.budget, view.study.attack, None),
        Panel(right, "victim_accuracy", view.study.attack, None),
    ]
    _draw_panels(view, shown, panels)
    left.set_title("what the budget buys")
    right.set_title("and what is left of the victim")
    right.tick_params(labelleft=True)
    for part in below:
        _draw_attackers(view, shown, part, attackers)
    style.tidy_key(figure, _key(view, shown))
    return Picture(figure, tables)


def _draw_attackers(view: StudyView, rows: Sequence[Row], part: SubFigure, attackers: Sequence[str]) -> None:
    cells = style.panels(part, len(attackers), sharex=True, sharey=True)
    _, columns = style.grid(len(attackers))
    panels = [
        Panel(axes, view.study.budget, attack_of(view.study, name), name)
        for axes, name in zip(cells, attackers, strict=True)
    ]
    _draw_panels(view, rows, panels)
    for place, (axes, name) in enumerate(zip(cells, attackers, strict=True)):
        attacker = view.study.attackers[name]
        says = ["knows T"] if ATTACKS[attacker.kind].needs_matrix else []
        says += [] if attacker.counts else ["front only"]
        axes.set_title(f"against {name}" + (f" ({', '.join(says)})" if says else ""))
        axes.set_ylabel("clone accuracy, %" if place % columns == 0 else "")
        if place < len(attackers) - columns:
            axes.set_xlabel("")


def points_table(view: StudyView, rows: Sequence[Row]) -> pd.DataFrame:
    """List every point, as `StudyView.points` does.

    Its range over seeds is `.low` and `.high`, its intervals are `.interval_low` and `.interval_high`; what the
    clones of a stopped point had reached on validation images is `.at_least`.
    """
    more = []
    for row in rows:
        figures = view.figures(row.point)
        own: dict[str, float | None] = {"seeds": len(figures["runs"]) if figures else 0}
        for ranges, prefix in ((row.spread, ""), (row.intervals, "interval_")):
            for name, (low, high) in ranges.items():
                own |= {f"{name}.{prefix}low": low, f"{name}.{prefix}high": high}
        own |= {f"{name}.at_least": row.bound(name) for name in row.validation if measure(name).of_clones}
        more.append(own)
    columns = ("point", "defense", "state", "within_limits", "on_front", "on_own_front", "seeds", *MEASURES)
    table = pd.concat([view.points(), pd.DataFrame(more)], axis=1)
    return table.reindex(columns=[*columns, *(name for name in table if name not in columns)])


def fronts_table(view: StudyView, rows: Sequence[Row]) -> pd.DataFrame:
    """List the members of the joint front and of each searched defense's own, as `front`.

    They are those against the study's own measure, with an empty `attacker`, and against each attacker.
    """
    by_number = {row.point.number: row for row in rows}
    found = [
        {
            "attacker": attacker or "",
            "front": front,
            "point": number,
            "defense": by_number[number].point.defense,
            **{name: by_number[number].test.get(name) for name in MEASURES},
            "clone": by_number[number].test[attack_of(view.study, attacker)],
        }
        for attacker in (None, *view.study.attackers)
        for front, numbers in fronts_of(view, attacker).items()
        for number in numbers
    ]
    return pd.DataFrame(found, columns=("attacker", "front", "point", "defense", *MEASURES, "clone"))


# --- panels -----------------------------------------------------------------------------------------------


def _draw_panels(view: StudyView, rows: Sequence[Row], panels: Sequence[Panel]) -> None:
    """Draw panels with a common vertical axis, and the levels once its range is known."""
    for panel in panels:
        draw_panel(view, rows, panel)
    for across in dict.fromkeys(panel.across for panel in panels):
        if measure(across).unit == "%":
            own = [panel for panel in panels if panel.across == across]
            own[0].axes.xaxis.set_major_locator(MaxNLocator(6))
            own[0].axes.set_xlim(right=min(own[0].axes.get_xlim()[1], 100.5))
            _fit([panel.axes for panel in own], "x", rows, [across])
    _fit([panel.axes for panel in panels], "y", rows, [panel.up for panel in panels])
    for panel in panels:
        _draw_levels(view, panel)


def draw_panel(view: StudyView, rows: Sequence[Row], panel: Panel) -> None:
    """Draw all points, the lines of the fronts and their rings."""
    axes, across, up, attacker = panel
    drawn = [row for row in rows if across in row.test and up in row.test and row.state != "dominated"]
    for defense in dict.fromkeys(row.point.defense for row in drawn):
        for hollow in (True, False):
            own = [row for row in drawn if row.point.defense == defense and (row.state == "beyond") == hollow]
            if own:
                _draw_marks(own, panel, hollow=hollow)
    for row in rows:
        if across in row.test and row.bound(up):
            _draw_stopped(row, panel)
    by_number = {row.point.number: row for row in drawn}
    for front, numbers in fronts_of(view, attacker).items():
        members = [by_number[number] for number in numbers]
        if front == JOINT:
            axes.plot(*_places(members, panel), **style.ring(), zorder=4)
        elif members and across == view.study.budget:
            _draw_front(view, members, drawn, panel)
    if not drawn:
        axes.text(0.5, 0.5, "nothing attacked yet", transform=axes.transAxes, ha="center", color=palette.GRAY)
    axes.set_xlabel(measure(across).axis())
    axes.set_ylabel(measure(up).axis())


def _places(rows: Sequence[Row], panel: Panel) -> tuple[list[float], list[float]]:
    names = (panel.across, panel.up)
    x, y = ([measure(name).scale * row.test[name] for row in rows] for name in names)
    return x, y


def _draw_marks(rows: Sequence[Row], panel: Panel, *, hollow: bool) -> None:
    """Draw points of one defense with their bars."""
    bars = {"xerr": _bars(rows, panel.across), "yerr": _bars(rows, panel.up)}
    look: dict[str, Any] = {**_mark(palette.DEFENSES[rows[0].point.defense], hollow=hollow), **bars}
    x, y = _places(rows, panel)
    panel.axes.errorbar(x, y, linestyle="none", elinewidth=0.7, zorder=3, **look)


def _bars(rows: Sequence[Row], name: str) -> list[list[float]]:
    """Measure bars below and above; 0 where no range is known."""
    values = [(row.test[name], *(row.bar(name) or (row.test[name], row.test[name]))) for row in rows]
    scale = measure(name).scale
    below = [scale * max(0.0, of - low) for of, low, _ in values]  # an interval of 100 % ends there, rounded
    return [below, [scale * max(0.0, high - of) for of, _, high in values]]


def _mark(mark: palette.Mark, *, hollow: bool) -> dict[str, Any]:
    face = "white" if hollow else mark.color
    return {"marker": mark.marker, "color": mark.color, "markerfacecolor": face, "markersize": 6}


def _draw_stopped(row: Row, panel: Panel) -> None:
    """Draw a stopped point open at the bound of its clones, with a tick upwards."""
    x, y = measure(panel.across).scale * row.test[panel.across], 100 * (row.bound(panel.up) or 0)
    color = palette.DEFENSES[row.point.defense].color
    tick = {"arrowstyle": "-", "color": color, "lw": 0.8}
    panel.axes.annotate("", (x, y), (0, TICK), textcoords="offset points", arrowprops=tick)
    panel.axes.plot(x, y, **stopped_mark(row.point.defense), zorder=2)


def stopped_mark(defense: str) -> dict[str, Any]:
    """Return the look of a stopped point."""
    mark = palette.DEFENSES[defense]
    return {
        "linestyle": "none",
        "marker": mark.marker,
        "color": mark.color,
        "markerfacecolor": "white",
        "markersize": 4,
        "markeredgewidth": 0.8,
    }


def _draw_front(view: StudyView, members: Sequence[Row], drawn: Sequence[Row], panel: Panel) -> None:
    """Draw a defense's own front from cheap to dear: at each budget the dearest member within it."""
    study = view.study
    ordered = sorted(members, key=lambda row: cheap_first(study, row.test[study.budget]))
    dearest = max(drawn, key=lambda row: cheap_first(study, row.test[study.budget]))
    x, y = _places(ordered, panel)
    end = measure(study.budget).scale * dearest.test[study.budget]
    color = palette.DEFENSES[members[0].point.defense].color
    panel.axes.step([*x, end], [*y, y[-1]], where="post", color=color, linewidth=1.2, zorder=1)


def _draw_levels(view: StudyView, panel: Panel) -> None:
    """Draw what attackers reach without a defense, and by guessing unless that is far below all points."""
    axes, without, guess = panel.axes, style.undefended(view, panel.attacker), style.chance(view)
    if without is not None:
        axes.axhline(100 * without, color=palette.BLACK, linestyle="--", linewidth=0.9, zorder=2)
    low, high = axes.get_ylim()
    if guess is not None and 100 * guess > low - (high - low) / 4:
        axes.axhline(100 * guess, color=palette.BLACK, linestyle=":", linewidth=1.2, zorder=2)


def _fit(panels: Sequence[Axes], which: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Widen a narrow axis; stretch one on which failures would squeeze all that is of use.

    A stretched axis shows the logarithm of what accuracies lack.

    Args:
        panels: that share this axis.
        which: x or y.
        rows: the points.
        names: measures on the axis.
    """
    finished = [row for row in rows if row.state != "dominated"]
    everything = [100 * row.test[name] for row in finished for name in names if name in row.test]
    kept = [
        100 * row.test[name] for row in finished if row.state != "beyond" for name in names if name in row.test
    ]
    wide = max(everything, default=0.0) - min(everything, default=0.0)
    if not kept or wide < WIDE or max(kept) - min(kept) > NARROW * wide:
        style.widen(panels[0], which)
        return
    best = max(everything) + 0.5
    functions = (lambda x: -np.log1p(np.maximum(best - x, -0.9)), lambda y: best - np.expm1(-np.asarray(y)))
    getattr(panels[0], f"set_{which}scale")("function", functions=functions)
    axis = panels[0].xaxis if which == "x" else panels[0].yaxis
    axis.set_major_locator(FixedLocator(_ticks(math.ceil(best - 0.5))))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
    for axes in panels:
        label = getattr(axes, f"{which}axis").label
        label.set_text(f"{label.get_text()} (stretched)" if label.get_text() else "")


def _ticks(top: int) -> list[int]:
    """List round numbers, farther apart farther below the top."""
    grain = {0: 1, 1: 1, 2: 1, 5: 5, 10: 10, 20: 10, 40: 10, 70: 10, 100: 10}
    return sorted({tick for lost, of in grain.items() if (tick := of * round((top - lost) / of)) >= 0})


def _key(view: StudyView, rows: Sequence[Row]) -> list[Any]:
    drawn = [row for row in rows if row.state != "dominated"]
    entries = [
        style.key(name, linestyle="none", **_mark(palette.DEFENSES[name], hollow=False))
        for name in palette.DEFENSES
        if any(row.point.defense == name for row in drawn)
    ]
    if any(row.state == "beyond" for row in drawn):
        drop = 100 * (view.study.limits.accuracy_drop or 0)
        limit = f"beyond the limit: accuracy drop {drop:g} {'point' if drop == 1 else 'points'}"
        look = _mark(palette.Mark(palette.GRAY, "o", ""), hollow=True)
        entries.append(style.key(limit, linestyle="none", **look))
    fronts = fronts_of(view, None)
    for defense in view.study.sought:
        if any(row.point.defense == defense for row in rows if row.bound(view.study.attack)):
            entries.append(style.key(f"{defense}, stopped: at least", **stopped_mark(defense)))
        if fronts[defense]:
            color = palette.DEFENSES[defense].color
            entries.append(style.key(f"{defense}'s front", color=color, linewidth=1.2))
    if fronts[JOINT]:
        entries.append(style.key("joint front", **style.ring(9)))
    if style.undefended(view) is not None:
        entries.append(style.key("undefended", color=palette.BLACK, linestyle="--", linewidth=0.9))
    guess = style.chance(view)
    if guess is not None:
        label = f"guessing: {100 * guess:.3g} %, if in view"
        entries.append(style.key(label, color=palette.BLACK, linestyle=":", linewidth=1.2))
    return entries
