"""What a defense costs against what it buys: every point of a study, and its fronts. One picture a study.

Above, budget and victim accuracy against the best clone of any attacker; below, against the clone of each. A
mark is a point with its test figures, its bars go from the lowest to the highest seed. The line of a searched
defense is its own front, chosen by validation figures: at each budget the clone of the member that one would
take. Rings mark the joint front of all defenses. tradeoff.csv has the points, tradeoff-fronts.csv the members of
all fronts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from emma_tune.attacks import ATTACKS
from emma_tune.figures import Figures
from emma_tune.pictures import style
from emma_tune.pictures.picture import Picture, nothing
from emma_tune.report import palette
from emma_tune.results import StudyView

COLUMNS = (
    "point",
    "defense",
    "state",
    "within_limits",
    "on_front",
    "seeds",
    "l1",
    "victim_accuracy",
    "attacker_accuracy",
)
"""Columns that the table always has."""

JOINT = "joint"
"""The front of all defenses together, as `front` in the table."""

NARROW = 0.2
"""Share of an axis below which points within the limits get a stretched axis,"""

WIDE = 10.0
"""if all points together span so many points of accuracy."""


@style.styled
def draw(view: StudyView) -> Picture:
    """Draw a study."""
    table, fronts = points_table(view), fronts_table(view)
    tables = {"": table, "fronts": fronts}
    done = table[table.state == "finished"]
    if done.empty:
        return nothing(view, "no point is finished yet", tables)
    attackers = list(view.study.attackers) if len(view.study.attackers) > 1 else []
    rows, _ = style.grid(len(attackers))
    figure = Figure(figsize=(11, 4.9 + 2.7 * rows), layout="constrained")
    figure.suptitle(style.heading(view))
    heights = [4.1, 2.7 * rows] if attackers else [4.1]
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    draw_panel(view, table, fronts, left, "l1", None)
    left.set_title("against the best clone of all attackers")
    draw_panel(view, table, fronts, right, "victim_accuracy", None)
    right.set_title("and what is left of the victim")
    right.tick_params(labelleft=True)
    right.xaxis.set_major_locator(MaxNLocator(6))
    right.set_xlim(right=min(right.get_xlim()[1], 100.5))
    _fit([right], "x", done, ["victim_accuracy"])
    _fit([left, right], "y", done, ["attacker_accuracy"])
    for axes in (left, right):
        _draw_levels(view, axes, None)
    for part in below:
        _draw_attackers(view, table, fronts, part, attackers)
    style.tidy_key(figure, _key(view, table))
    return Picture(figure, tables)


def _draw_attackers(
    view: StudyView, table: pd.DataFrame, fronts: pd.DataFrame, part: SubFigure, attackers: Sequence[str]
) -> None:
    cells = style.panels(part, len(attackers), sharex=True, sharey=True)
    _, columns = style.grid(len(attackers))
    for place, (axes, attacker) in enumerate(zip(cells, attackers, strict=True)):
        draw_panel(view, table, fronts, axes, "l1", attacker)
        knows = " (knows T)" if ATTACKS[view.study.attackers[attacker].kind].needs_matrix else ""
        axes.set_title(f"against {attacker}{knows}")
        axes.set_ylabel("clone accuracy, %" if place % columns == 0 else "")
        if place < len(attackers) - columns:
            axes.set_xlabel("")
    done = table[table.state == "finished"]
    _fit(cells, "y", done, [f"attackers.{attacker}" for attacker in attackers])
    for axes, attacker in zip(cells, attackers, strict=True):  # now that their common range is known
        _draw_levels(view, axes, attacker)


def _fit(panels: Sequence[Axes], which: str, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Widen a narrow axis; stretch one on which failures would squeeze all that is of use.

    A stretched axis shows the logarithm of what accuracies lack.

    Args:
        panels: that share this axis.
        which: x or y.
        table: the points.
        names: measures on the axis.
    """
    known = 100 * table[[name for name in names if name in table]]
    everything, kept = known.stack(), known[table.within_limits.astype(bool)].stack()
    wide = everything.max() - everything.min()
    if kept.empty or wide < WIDE or kept.max() - kept.min() > NARROW * wide:
        style.widen(panels[0], which)
        return
    best = max(known.max()) + 0.5
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


def points_table(view: StudyView) -> pd.DataFrame:
    """List every point, as `StudyView.points` does, with its range over seeds as `.low` and `.high`."""
    rows = []
    for point in view.ledger.points.values():
        figures = view.figures(point)
        rows.append({"seeds": len(figures["runs"]), **_ranges(figures)} if figures else {"seeds": 0})
    table = pd.concat([view.points(), pd.DataFrame(rows)], axis=1)
    return table.reindex(columns=[*COLUMNS, *(name for name in table if name not in COLUMNS)])


def _ranges(figures: Figures) -> dict[str, float]:
    runs = []
    for run in figures["runs"].values():
        test = run["test"]
        costs = {name: test[name] for name in ("l1", "victim_accuracy", "attacker_accuracy")}
        runs.append(costs | {f"attackers.{name}": accuracy for name, accuracy in test["attackers"].items()})
    ends = (("low", min), ("high", max))
    return {f"{name}.{end}": pick(run[name] for run in runs) for name in runs[0] for end, pick in ends}


def fronts_table(view: StudyView) -> pd.DataFrame:
    """List the members of the joint front and of each searched defense's own, as `front`.

    They are those against the worst clone, with an empty `attacker`, and against each attacker.
    """
    rows = [
        {
            "attacker": attacker or "",
            "front": front,
            "point": point.number,
            "defense": point.defense,
            **{name: figures["test"][name] for name in ("l1", "victim_accuracy", "attacker_accuracy")},
        }
        for attacker in (None, *view.study.attackers)
        for front in (JOINT, *view.study.sought)
        for point, figures in view.members(attacker=attacker, defenses=None if front == JOINT else {front})
    ]
    columns = ("attacker", "front", "point", "defense", "l1", "victim_accuracy", "attacker_accuracy")
    return pd.DataFrame(rows, columns=columns)


def draw_panel(
    view: StudyView, table: pd.DataFrame, fronts: pd.DataFrame, axes: Axes, across: str, attacker: str | None
) -> None:
    """Draw points against the clone of one attacker, or the worst clone if None.

    Args:
        view: the study.
        table: its points.
        fronts: its fronts.
        axes: where to draw.
        across: the measure on the horizontal axis.
        attacker: the attacker.
    """
    up = f"attackers.{attacker}" if attacker else "attacker_accuracy"
    done = table[table.state == "finished"]
    done = done[done[up].notna()] if up in done else done[:0]
    for defense in done.defense.unique():
        for kept in (True, False):
            rows = done[(done.defense == defense) & (done.within_limits == kept)]
            if len(rows):
                _draw_marks(rows, axes, across, up, palette.DEFENSES[defense], hollow=not kept)
    own = fronts[fronts.attacker == (attacker or "")]
    joint = own[own.front == JOINT]
    axes.plot(style.scale(across) * joint[across], 100 * joint.attacker_accuracy, **style.ring(), zorder=4)
    if across == "l1":
        for defense in view.study.sought:
            _draw_front(own[own.front == defense], axes, palette.DEFENSES[defense].color, done.l1.max())
        _draw_ticks(table, axes)
    if done.empty:
        axes.text(0.5, 0.5, "nothing attacked yet", transform=axes.transAxes, ha="center", color=palette.GRAY)
    axes.set_xlabel(style.LABELS[across])
    axes.set_ylabel(style.LABELS["attacker_accuracy"])


def _draw_front(members: pd.DataFrame, axes: Axes, color: str, end: float) -> None:
    """Draw the front of a defense: at each budget, up to an end, the dearest member within it."""
    members = members.sort_values("l1", kind="stable")
    if len(members):
        clones = 100 * members.attacker_accuracy
        x, y = [*members.l1, end], [*clones, clones.iloc[-1]]
        axes.step(x, y, where="post", color=color, linewidth=1.2, zorder=1)


def _draw_marks(rows: pd.DataFrame, axes: Axes, across: str, up: str, mark: palette.Mark, *, hollow: bool) -> None:
    def bars(name: str) -> list[Any]:
        middle = rows[name]
        return [
            style.scale(name) * (middle - rows[f"{name}.low"]),
            style.scale(name) * (rows[f"{name}.high"] - middle),
        ]

    axes.errorbar(
        style.scale(across) * rows[across],
        100 * rows[up],
        xerr=bars(across),
        yerr=bars(up),
        linestyle="none",
        elinewidth=0.7,
        zorder=3,
        **_mark(mark, hollow=hollow),
    )


def _mark(mark: palette.Mark, *, hollow: bool) -> dict[str, Any]:
    face = "white" if hollow else mark.color
    return {"marker": mark.marker, "color": mark.color, "markerfacecolor": face, "markersize": 6}


def _draw_ticks(table: pd.DataFrame, axes: Axes) -> None:
    """Draw the budgets of stopped points, whose clones have no test figures."""
    for row in table[table.state == "dominated"].to_dict("records"):
        axes.axvline(row["l1"], ymax=0.04, color=palette.DEFENSES[row["defense"]].color, linewidth=1.2)


def _draw_levels(view: StudyView, axes: Axes, attacker: str | None) -> None:
    """Draw what attackers reach without a defense, and by guessing unless that is far below all points."""
    without, guess = style.undefended(view, attacker), style.chance(view)
    if without is not None:
        axes.axhline(100 * without, color=palette.BLACK, linestyle="--", linewidth=0.9, zorder=2)
    low, high = axes.get_ylim()
    if guess is not None and 100 * guess > low - (high - low) / 2:
        axes.axhline(100 * guess, color=palette.BLACK, linestyle=":", linewidth=1.2, zorder=2)


def _key(view: StudyView, table: pd.DataFrame) -> list[Any]:
    done = table[table.state == "finished"]
    entries = [
        style.key(defense, linestyle="none", **_mark(palette.DEFENSES[defense], hollow=False))
        for defense in palette.DEFENSES
        if (done.defense == defense).any()
    ]
    if not done.within_limits.all():
        drop = 100 * (view.study.limits.accuracy_drop or 0)
        limit = f"beyond the limit: accuracy drop {drop:g} {'point' if drop == 1 else 'points'}"
        entries.append(
            style.key(limit, linestyle="none", **_mark(palette.Mark(palette.GRAY, "o", ""), hollow=True))
        )
    if done.on_front.any():
        entries.append(style.key("joint front, by validation figures", **style.ring(9)))
    for defense in view.study.sought:
        if (done.defense == defense).any():
            color = palette.DEFENSES[defense].color
            entries.append(style.key(f"{defense}'s own front", color=color, linewidth=1.2))
    if (table.state == "dominated").any():
        tick = {"linestyle": "none", "marker": "|", "color": palette.BLUE}
        entries.append(style.key("budget of a stopped point", **tick))
    if style.undefended(view) is not None:
        entries.append(style.key("undefended", color=palette.BLACK, linestyle="--", linewidth=0.9))
    guess = style.chance(view)
    if guess is not None:
        entries.append(
            style.key(
                f"guessing: {100 * guess:.3g} %, if in view", color=palette.BLACK, linestyle=":", linewidth=1.2
            )
        )
    return entries
