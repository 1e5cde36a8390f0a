"""What a defence costs against what it buys: every point of a study, and its fronts. One picture a study.

    python -m analysis.tradeoff runs/digits --out pictures

Above, budget and victim accuracy against the best clone of any thief; below, against the clone of each. A mark is
a point, figures of the test part, its bars from the least to the greatest seed; rings are the front, chosen by
validation figures. The line is what the rings reach at each budget: a ring above it is a point that the validation
part took for better than it is. tradeoff.csv has the points, tradeoff-fronts.csv the members of all fronts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis import command, style
from emma_tune.attacks import ATTACKS
from emma_tune.figures import Figures
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
"""There always, even of a study without points."""

NARROW = 0.2
"""An axis is stretched where points within the limits take a smaller share of it,"""

WIDE = 10.0
"""and all points together so many points of accuracy."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.each_study("tradeoff", __doc__, draw, arguments)


def draw(view: StudyView) -> command.Picture:
    """The picture of a study and its tables."""
    table, fronts = points_table(view), fronts_table(view)
    tables = {"": table, "fronts": fronts}
    done = table[table.state == "finished"]
    if done.empty:
        return command.Picture(style.nothing(view, "no point is finished yet"), tables)
    thieves = list(view.study.attackers) if len(view.study.attackers) > 1 else []
    rows, _ = style.grid(len(thieves))
    figure = Figure(figsize=(11, 4.9 + 2.7 * rows), layout="constrained")
    figure.suptitle(style.heading(view))
    heights = [4.1, 2.7 * rows] if thieves else [4.1]
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    draw_panel(view, table, fronts, left, "l1", None)
    left.set_title("against the worst of all thieves")
    draw_panel(view, table, fronts, right, "victim_accuracy", None)
    right.set_title("what is left of the victim")
    right.tick_params(labelleft=True)
    _stretch([right], "x", done, ["victim_accuracy"])
    _stretch([left, right], "y", done, ["attacker_accuracy"])
    right.set_xlim(right=min(right.get_xlim()[1], 100.5))
    for axes in (left, right):
        _draw_levels(view, axes, None)
    for part in below:
        _draw_thieves(view, table, fronts, part, thieves)
    style.tidy_key(figure, _key(view, table))
    return command.Picture(figure, tables)


def _draw_thieves(
    view: StudyView, table: pd.DataFrame, fronts: pd.DataFrame, part: SubFigure, thieves: Sequence[str]
) -> None:
    cells = style.panels(part, len(thieves), sharex=True, sharey=True)
    _, columns = style.grid(len(thieves))
    for place, (axes, thief) in enumerate(zip(cells, thieves, strict=True)):
        draw_panel(view, table, fronts, axes, "l1", thief)
        knows = " (knows T)" if ATTACKS[view.study.attackers[thief].kind].needs_matrix else ""
        axes.set_title(f"against {thief}{knows}")
        axes.set_ylabel("clone accuracy, %" if place % columns == 0 else "")
        if place < len(thieves) - columns:
            axes.set_xlabel("")
    done = table[table.state == "finished"]
    _stretch(cells, "y", done, [f"attackers.{thief}" for thief in thieves])
    for axes, thief in zip(cells, thieves, strict=True):  # now that their common range is known
        _draw_levels(view, axes, thief)


def _stretch(panels: Sequence[Axes], which: str, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Accuracies by the logarithm of what they lack, where failures would squeeze all that is of use.

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
        return
    best = everything.max() + 0.5
    functions = (lambda x: -np.log1p(np.maximum(best - x, -0.9)), lambda y: best - np.expm1(-np.asarray(y)))
    getattr(panels[0], f"set_{which}scale")("function", functions=functions)
    axis = panels[0].xaxis if which == "x" else panels[0].yaxis
    axis.set_major_locator(FixedLocator(_ticks(math.ceil(everything.max()))))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
    for axes in panels:
        label = getattr(axes, f"{which}axis").label
        label.set_text(f"{label.get_text()} (stretched)" if label.get_text() else "")


def _ticks(top: int) -> list[int]:
    """Round numbers, the farther below the top the farther apart."""
    grain = {0: 1, 1: 1, 2: 1, 5: 5, 10: 10, 20: 10, 40: 10, 70: 10, 100: 10}
    return sorted({tick for lost, of in grain.items() if (tick := of * round((top - lost) / of)) >= 0})


def points_table(view: StudyView) -> pd.DataFrame:
    """Every point, as `StudyView.points` has it, its ranges over seeds as `.low` and `.high`."""
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
    """Members of the front against the worst thief, as `attacker` empty, and against each."""
    rows = [
        {
            "attacker": attacker or "",
            "point": point.number,
            "defense": point.defense,
            **{name: figures["test"][name] for name in ("l1", "victim_accuracy", "attacker_accuracy")},
        }
        for attacker in (None, *view.study.attackers)
        for point, figures in view.members(attacker=attacker)
    ]
    columns = ("attacker", "point", "defense", "l1", "victim_accuracy", "attacker_accuracy")
    return pd.DataFrame(rows, columns=columns)


def draw_panel(
    view: StudyView, table: pd.DataFrame, fronts: pd.DataFrame, axes: Axes, across: str, attacker: str | None
) -> None:
    """Points against the clone of one thief, or of the worst if None.

    Args:
        view: the study.
        table: its points.
        fronts: its fronts.
        axes: where to draw.
        across: the measure on the horizontal axis.
        attacker: the thief.
    """
    up = f"attackers.{attacker}" if attacker else "attacker_accuracy"
    done = table[table.state == "finished"]
    done = done[done[up].notna()] if up in done else done[:0]
    for (defense, kept), rows in done.groupby(["defense", "within_limits"], sort=False):
        _draw_marks(rows, axes, across, up, palette.DEFENSES[defense], hollow=not kept)
    front = fronts[fronts.attacker == (attacker or "")].sort_values(across, kind="stable")
    x, y = style.scale(across) * front[across], 100 * front.attacker_accuracy
    axes.plot(x, y, **style.ring(), zorder=4)
    if across == "l1" and len(front):
        reached = pd.Series([*y, y.iloc[-1]]).cummin()
        line = style.thief_line(view, attacker) if attacker else {"color": palette.BLACK}
        axes.step([*x, done.l1.max()], reached, where="post", **{**line, "linestyle": "-"}, linewidth=1, zorder=1)
    if across == "l1":
        _draw_ticks(table, axes)
    if done.empty:
        axes.text(0.5, 0.5, "nothing attacked yet", transform=axes.transAxes, ha="center", color=palette.GRAY)
    axes.set_xlabel(style.LABELS[across])
    axes.set_ylabel(style.LABELS["attacker_accuracy"])


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
    """Dominated points: their clones have no test figures, so that a budget is all that belongs here."""
    for defense, rows in table[table.state == "dominated"].groupby("defense", sort=False):
        for l1 in rows.l1.dropna():
            axes.axvline(l1, ymax=0.04, color=palette.DEFENSES[defense].color, linewidth=1.2)


def _draw_levels(view: StudyView, axes: Axes, attacker: str | None) -> None:
    """What thieves get without a defence and by guessing, unless that lies far below all points."""
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
        limit = f"beyond the limit: accuracy drop {100 * (view.study.limits.accuracy_drop or 0):g} points"
        entries.append(
            style.key(limit, linestyle="none", **_mark(palette.Mark(palette.GRAY, "o", ""), hollow=True))
        )
    if done.on_front.any():
        entries.append(style.key("front, by validation figures", **style.ring(9)))
        entries.append(style.key("reached by the front", color=palette.BLACK, linewidth=1))
    if (table.state == "dominated").any():
        tick = {"linestyle": "none", "marker": "|", "color": palette.BLUE}
        entries.append(style.key("budget of a point stopped as dominated", **tick))
    if style.undefended(view) is not None:
        entries.append(style.key("undefended", color=palette.BLACK, linestyle="--", linewidth=0.9))
    guess = style.chance(view)
    if guess is not None:
        entries.append(
            style.key(
                f"chance: {100 * guess:.3g} %, if in view", color=palette.BLACK, linestyle=":", linewidth=1.2
            )
        )
    return entries


if __name__ == "__main__":
    raise SystemExit(main())
