"""Studies side by side, or the defenses of one: what their fronts reach over seeds. One picture of all.

One panel a side: the line is what the fronts of at least half of the runs reach (the median attainment surface),
the band goes from what one of them reaches to what all do (Fonseca et al. 2011); thin and dashed is the median
of the reference. Below, the hypervolumes of the fronts: a tick for each seed, the mean and its 95 % interval,
cut at the ends of the axis. Fronts are chosen by validation figures and shown with test figures; the undefended
point belongs to every side. Remarks at the bottom say why the comparison may be unfair.

compare.csv has the sides, compare-seeds.csv their hypervolumes by seed, compare-surfaces.csv the corners of the
surfaces, compare-remarks.csv the remarks.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from emma_tune.outputs import palette
from emma_tune.outputs.pictures import style
from emma_tune.outputs.pictures.picture import Picture, nothing
from emma_tune.results import StudyView
from emma_tune.results.comparison import Group, by_defense, by_study, compare
from emma_tune.study.measures import measure

Comparison = Mapping[str, Any]
"""The result of `comparison.compare`, or one side of it."""

LINES = 4  # of remarks below the picture; the table has all of them


@style.styled
def draw(views: Sequence[StudyView]) -> Picture:
    """Draw studies, or the defenses of one."""
    groups = by_study(views) if len(views) > 1 else by_defense(views)
    early = [group.name for group in groups if not group.view.counts(group.own)["finished"]]
    groups = [group for group in groups if group.name not in early]
    if len(groups) < 2:
        only = f": only {groups[0].name} has finished points" if groups else ": no side has finished points"
        return nothing(views[0], f"nothing to compare{only}", tables_of({"groups": [], "remarks": []}))
    comparison = compare(groups)
    comparison["remarks"] += [f"left out, without a finished point: {', '.join(early)}"] if early else []
    looks = {group.name: _look(group, place) for place, group in enumerate(groups)}
    flat = len(comparison["objectives"]) == 2  # of three a surface is no line
    rows, _ = style.grid(len(groups))
    heights = [2.3 * rows + 0.4] * flat + [max(1.6, 0.26 * len(groups) + 0.9)]
    figure = style.Figure(figsize=(11, sum(heights) + 1.3), layout="constrained")
    figure.suptitle(style.heading(views[0]) if len(views) == 1 else ", ".join(looks))
    *above, below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    for part in above:
        style.tidy_key(part, _key(comparison["reference"], looks))
        _draw_surfaces(comparison, looks, style.panels(part, len(groups), sharex=True, sharey=True))
    _draw_worth(comparison, looks, below.subplots())
    lines = [line for remark in comparison["remarks"] for line in textwrap.wrap(remark, 150)]
    figure.supxlabel("\n".join([*lines[:LINES], *["…"] * (len(lines) > LINES)]), fontsize=8, color=palette.GRAY)
    return Picture(figure, tables_of(comparison))


def tables_of(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Turn a comparison into tables."""
    sides, seeds, corners = [], [], []
    for group in comparison["groups"]:
        over = {name: group[name] for name in ("mean", "deviation", "low", "high", "count")}
        gain = {f"difference.{name}": value for name, value in (group["difference"] or {}).items()}
        sides.append({"side": group["name"], **group["points"], **over, **gain})
        seeds += [(group["name"], seed, worth) for seed, worth in group["hypervolume_by_seed"].items()]
        corners += [
            {"side": group["name"], "surface": name, **dict(zip(comparison["objectives"], corner, strict=True))}
            for name, surface in group["surfaces"].items()
            for corner in surface
        ]
    return {
        "": pd.DataFrame(sides) if sides else pd.DataFrame(columns=["side"]),
        "seeds": pd.DataFrame(seeds, columns=("side", "seed", "hypervolume")),
        "surfaces": pd.DataFrame(corners) if corners else pd.DataFrame(columns=["side", "surface"]),
        "remarks": pd.DataFrame({"remark": comparison["remarks"]}),
    }


def _look(group: Group, place: int) -> dict[str, Any]:
    """Return color and marker: a defense has its own, studies have theirs by their place."""
    color, marker = style.COLORS[place % len(style.COLORS)], style.MARKERS[place % len(style.MARKERS)]
    for defense in group.own or ():
        color, marker, _ = palette.defense(defense)
    return {"color": color, "marker": marker}


def _draw_surfaces(comparison: Comparison, looks: Mapping[str, dict[str, Any]], cells: Sequence[Axes]) -> None:
    (across, up), groups = comparison["objectives"], comparison["groups"]
    _, columns = style.grid(len(groups))
    (reference,) = (group for group in groups if group["name"] == comparison["reference"])
    for place, (axes, group) in enumerate(zip(cells, groups, strict=True)):
        color, paths = looks[group["name"]]["color"], _paths(comparison["objectives"], group)
        if "worst" in paths and "best" in paths:
            band = np.concatenate([paths["best"], paths["worst"][::-1]])
            axes.fill(*band.T, color=color, alpha=0.25, linewidth=0)
        if group is not reference:
            median = _paths(comparison["objectives"], reference).get("median")
            if median is not None:
                axes.plot(*median.T, color=looks[reference["name"]]["color"], linestyle="--", linewidth=0.9)
        if "median" in paths:
            axes.plot(*paths["median"].T, color=color, linewidth=1.6)
        axes.set_title(group["name"], fontsize=9)
        axes.set_xlabel(measure(across).axis() if place >= len(groups) - columns else "", fontsize=8)
        axes.set_ylabel(style.short_label(up) if place % columns == 0 else "", fontsize=8)
    corners = np.array([c for group in groups for surface in group["surfaces"].values() for c in surface])
    if not len(corners):  # no point is within the limits
        return
    scales = np.array([measure(across).scale, measure(up).scale])
    low, high = corners.min(axis=0) * scales, corners.max(axis=0) * scales
    margin = 0.08 * (high - low) + 1e-9
    cells[0].set_xlim(low[0] - margin[0], high[0] + margin[0])
    cells[0].set_ylim(low[1] - margin[1], high[1] + margin[1])
    for name, which in ((across, "x"), (up, "y")):
        if measure(name).unit:
            style.widen(cells[0], which)


def _key(reference: str, looks: Mapping[str, dict[str, Any]]) -> list[Any]:
    dashed = {"color": looks[reference]["color"], "linestyle": "--", "linewidth": 0.9}
    return [
        style.key("half of the runs reach this", color=palette.GRAY, linewidth=1.6),
        style.key("from one run to all runs", color=palette.GRAY, alpha=0.3, linewidth=8),
        style.key(f"half of the runs of {reference}", **dashed),
    ]


def _paths(objectives: Mapping[str, str], group: Comparison) -> dict[str, NDArray[np.float64]]:
    """Turn attainment surfaces into lines, (N, 2), from the worst value of one objective to that of the other."""
    signs = np.array([1.0 if direction == "min" else -1.0 for direction in objectives.values()])
    worst = signs * [measure(name).worst for name in objectives]
    paths = {}
    for name, surface in group["surfaces"].items():
        if surface:
            losses = np.array(surface) * signs
            losses = losses[np.lexsort((-losses[:, 1], losses[:, 0]))]
            x = np.repeat([*losses[:, 0], worst[0]], 2)[:-1]  # across, then down, at each corner
            y = np.repeat([worst[1], *losses[:, 1]], 2)[1:]
            paths[name] = np.column_stack([x, y]) * signs * [measure(name).scale for name in objectives]
    return paths


def _draw_worth(comparison: Comparison, looks: Mapping[str, dict[str, Any]], axes: Axes) -> None:
    groups = comparison["groups"]
    values = [worth for group in groups for worth in group["hypervolume_by_seed"].values()]
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) + 1e-3
    for place, group in enumerate(groups):
        look = looks[group["name"]]
        own = list(group["hypervolume_by_seed"].values())
        axes.plot(own, [place] * len(own), linestyle="none", marker="|", markersize=9, color=look["color"])
        axes.plot(group["mean"], place, markersize=7, **look)
        if group["low"] is not None:
            axes.hlines(place, group["low"], group["high"], color=look["color"], linewidth=1)
        verdict = (group["difference"] or {"verdict": "reference"})["verdict"]
        axes.text(1.01, place, verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.axvline(
        next(g["mean"] for g in groups if g["name"] == comparison["reference"]), color=palette.GRAY, linestyle="--"
    )
    axes.set_yticks(range(len(groups)), [group["name"] for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(low - margin, high + margin)
    axes.set_xlabel("hypervolume of the front: one tick a seed, the mean and its 95 % interval")
    axes.grid(axis="y", visible=False)
