"""Panels of a trade-off: points with their bars, fronts and levels, and axes that failures do not squeeze."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.points import JOINT, PointRow, chance, cheap_first, fronts_of, undefended_clone
from emma_tune.results import StudyView
from emma_tune.study.measures import measure

WIDE = 10.0
"""An axis of as many points of accuracy or more is stretched if others squeeze those within the limits."""

DECADES = 3
"""Orders of magnitude that a budget axis shows if points that run to their end are squeezed."""

TICK_LENGTH = 7.0  # of the tick of a stopped point, in points of print


class TradeoffPanel(NamedTuple):
    """Axes with their measures, and the attacker whose clone is drawn; None if it is the study's own measure."""

    axes: Axes
    across: str
    up: str
    attacker: str | None


def draw_panels(view: StudyView, rows: Sequence[PointRow], panels: Sequence[TradeoffPanel]) -> None:
    """Draw panels with a common vertical axis, and the levels once its range is known."""
    for panel in panels:
        draw_panel(view, rows, panel)
    for across in dict.fromkeys(panel.across for panel in panels):
        if measure(across).unit == "%":
            own = [panel.axes for panel in panels if panel.across == across]
            own[0].xaxis.set_major_locator(MaxNLocator(6))
            own[0].set_xlim(right=min(own[0].get_xlim()[1], 100.5))
            _fit(own, "x", rows, [across])
        elif across == view.study.budget:
            _spread([panel.axes for panel in panels if panel.across == across], rows, across)
    _fit([panel.axes for panel in panels], "y", rows, [panel.up for panel in panels])
    for panel in panels:
        _draw_levels(view, panel)


def draw_panel(view: StudyView, rows: Sequence[PointRow], panel: TradeoffPanel) -> None:
    """Draw all points, the lines of the fronts and their rings."""
    axes, across, up, attacker = panel
    drawn = [row for row in rows if across in row.test and up in row.test and not row.stopped]
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
        axes.text(0.5, 0.5, "nothing attacked", transform=axes.transAxes, ha="center", color=palette.GRAY)
    axes.set_xlabel(measure(across).axis())
    axes.set_ylabel(measure(up).axis())


def stopped_mark(defense: str) -> dict[str, Any]:
    """Return the look of a stopped point."""
    return style.mark(defense, hollow=True) | {"markersize": 4, "markeredgewidth": 0.8}


def _places(rows: Sequence[PointRow], panel: TradeoffPanel) -> tuple[list[float], list[float]]:
    names = (panel.across, panel.up)
    x, y = ([measure(name).scale * row.test[name] for row in rows] for name in names)
    return x, y


def _draw_marks(rows: Sequence[PointRow], panel: TradeoffPanel, *, hollow: bool) -> None:
    """Draw points of one defense with their bars."""
    look: dict[str, Any] = style.mark(rows[0].point.defense, hollow=hollow)
    look |= {"xerr": _bars(rows, panel.across), "yerr": _bars(rows, panel.up)}
    x, y = _places(rows, panel)
    panel.axes.errorbar(x, y, markersize=6, elinewidth=0.7, zorder=3, **look)


def _bars(rows: Sequence[PointRow], name: str) -> list[list[float]]:
    """Measure bars below and above; 0 where no range is known."""
    values = [(row.test[name], *(row.bar(name) or (row.test[name], row.test[name]))) for row in rows]
    scale = measure(name).scale
    below = [scale * max(0.0, of - low) for of, low, _ in values]  # an interval of 100 % ends there, rounded
    return [below, [scale * max(0.0, high - of) for of, _, high in values]]


def _draw_stopped(row: PointRow, panel: TradeoffPanel) -> None:
    """Draw a stopped point open at the bound of its clones, with a tick upwards."""
    x, y = measure(panel.across).scale * row.test[panel.across], 100 * (row.bound(panel.up) or 0)
    tick = {"arrowstyle": "-", "color": palette.defense(row.point.defense).color, "lw": 0.8}
    panel.axes.annotate("", (x, y), (0, TICK_LENGTH), textcoords="offset points", arrowprops=tick)
    panel.axes.plot(x, y, **stopped_mark(row.point.defense), zorder=2)


def _draw_front(
    view: StudyView, members: Sequence[PointRow], drawn: Sequence[PointRow], panel: TradeoffPanel
) -> None:
    """Draw a defense's own front from cheap to dear: at each budget the dearest member within it."""
    study = view.study
    ordered = sorted(members, key=lambda row: cheap_first(study, row.test))
    dearest = max(drawn, key=lambda row: cheap_first(study, row.test))
    x, y = _places(ordered, panel)
    end = measure(study.budget).scale * dearest.test[study.budget]
    color = palette.defense(members[0].point.defense).color
    panel.axes.step([*x, end], [*y, y[-1]], where="post", color=color, linewidth=1.2, zorder=1)


def _draw_levels(view: StudyView, panel: TradeoffPanel) -> None:
    """Draw what attackers reach without a defense, and by guessing unless that is far below all points."""
    axes, without, guess = panel.axes, undefended_clone(view, panel.attacker), chance(view)
    if without is not None:
        axes.axhline(100 * without, **style.level("--"), zorder=2)
    low, high = axes.get_ylim()
    if guess is not None and 100 * guess > low - (high - low) / 4:
        axes.axhline(100 * guess, **style.level(":"), zorder=2)


def _spread(panels: Sequence[Axes], rows: Sequence[PointRow], budget: str) -> None:
    """Show small budgets on a logarithmic axis if stopped points, or those beyond the limits, squeeze the rest."""
    costs = [(measure(budget).scale * row.test[budget], row) for row in rows if budget in row.test]
    kept = max((cost for cost, row in costs if not row.stopped and row.state != "beyond"), default=0.0)
    dearest = max((cost for cost, _ in costs), default=0.0)
    if not 0 < kept < palette.SQUEEZED * dearest or any(cost < 0 for cost, _ in costs):
        return
    least = dearest / 10**DECADES
    powers = range(math.ceil(math.log10(3 * least)), math.ceil(math.log10(dearest)) + 1)
    for axes in panels:
        axes.set_xscale("symlog", linthresh=least, linscale=0.4)
        axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in powers)]))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(-least / 2, 1.5 * dearest)
        axes.set_xlabel(f"{axes.get_xlabel()}\n(logarithmic)")


def _fit(panels: Sequence[Axes], which: str, rows: Sequence[PointRow], names: Sequence[str]) -> None:
    """Widen a narrow axis, x or y, of panels that share it; stretch one on which failures would squeeze the rest.

    A stretched axis shows the logarithm of what accuracies lack.
    """
    shown = [
        (100 * row.test[name], row.state) for row in rows for name in names if name in row.test and not row.stopped
    ]
    everything = [value for value, _ in shown]
    kept = [value for value, state in shown if state != "beyond"]
    wide = max(everything, default=0.0) - min(everything, default=0.0)
    if not kept or wide < WIDE or max(kept) - min(kept) > palette.SQUEEZED * wide:
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
