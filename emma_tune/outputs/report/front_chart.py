"""The chart of the front for Plotly: budget against clone accuracy, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from emma_tune.outputs import palette
from emma_tune.outputs.points import JOINT, PointRow, cheap_first
from emma_tune.study import Study
from emma_tune.study.measures import measure

Figure = dict[str, Any]
"""`data`: traces; `layout`: what this chart alone needs. The page adds the colors of its theme and the sizes."""

CROWD = 200  # points from which on marks are smaller
TICK = 1.5  # length of the tick of a stopped point, in points of accuracy
FAINT = 0.3  # opacity of points beyond the limits
STOPPED = "stopped-"  # begins the names of the traces of stopped points
NO_DEFENSE, GUESSING = "no defense", "guessing"
"""Levels of the clone's accuracy; guessing is shown only where it is near."""


class _Extent(NamedTuple):
    """The space that a mark takes: x, the ends of its bar, whether it is within the limits, and was stopped."""

    x: float
    low: float
    high: float
    within: bool
    stopped: bool


class _Axes(NamedTuple):
    """The measures on the axes."""

    x: str
    y: str

    def places(self, rows: Sequence[PointRow]) -> Figure:
        """Place rows at their figures; stopped ones at what their clones had reached on validation images."""
        return {
            "x": [round(_shown(self.x, row.test[self.x]), 5) for row in rows],
            "y": [round(_shown(self.y, row.bound(self.y) or row.test[self.y]), 3) for row in rows],
            "customdata": [row.point.number for row in rows],
        }


def front_chart(
    study: Study,
    rows: Sequence[PointRow],
    fronts: Mapping[str, Sequence[int]],
    attack: str,
    levels: Mapping[str, float | None],
) -> Figure:
    """Draw the budget of the study against clone accuracy, by test figures.

    There is a trace for each defense and one for its stopped points, a line for the front of each searched
    defense, and one of rings around the joint front. `layout.meta` has the ranges of both axes: `close` and `all`.

    Args:
        study: its budget is the horizontal axis.
        rows: all points.
        fronts: numbers of the members of the joint front and of each searched defense's own.
        attack: the measure of clones that is drawn; points without it are left out.
        levels: clone accuracy with `NO_DEFENSE` and by `GUESSING`; None if unknown.
    """
    axes = _Axes(study.budget, attack)
    drawn = [row for row in rows if not row.stopped and axes.x in row.test and attack in row.test]
    stopped = [row for row in rows if axes.x in row.test and row.bound(attack)]
    size = 10 if len(drawn) + len(stopped) < CROWD else 7
    traces = [
        trace
        for name in palette.in_order(row.point.defense for row in rows)
        for trace in (_defense(name, drawn, axes, size), _stopped(name, stopped, axes, size))
        if trace["x"]
    ]
    known = {name: 100 * level for name, level in levels.items() if level is not None}
    meta = _ranges(traces, known, axes)
    dear = meta["all"][0][1 if measure(axes.x).direction == "min" else 0]
    members = {name: [row for row in drawn if row.point.number in numbers] for name, numbers in fronts.items()}
    lines = [
        _steps(name, sorted(on_it, key=lambda row: cheap_first(study, row.test)), axes, dear)
        for name, on_it in members.items()
        if on_it and name != JOINT
    ]
    return {
        "data": [*traces, *lines, _rings(members[JOINT], axes, size)],
        "layout": {
            "meta": meta,
            "xaxis": {"title": {"text": measure(axes.x).axis()}},
            "yaxis": {"title": {"text": measure(axes.y).axis()}},
            "shapes": [_level(level, "dot" if name == GUESSING else "dash") for name, level in known.items()],
            "annotations": [_label(f"{name} {level:.1f} %", level) for name, level in known.items()],
        },
    }


def _shown(name: str, value: float) -> float:
    return measure(name).scale * value


# --- ranges -----------------------------------------------------------------------------------------------


def _ranges(traces: Sequence[Figure], levels: Mapping[str, float], axes: _Axes) -> dict[str, list[list[float]]]:
    """Choose ranges for x and y.

    Returns:
        `all`: of everything in the chart. `close`: of points within the limits (of all where there are none) and
        of the clone without a defense; without stopped points that would squeeze the others; of guessing only
        where it is near.
    """
    everything = [extent for trace in traces for extent in _extents(trace)]
    near = [extent for extent in everything if extent.within] or everything
    finished = [extent for extent in near if not extent.stopped]
    if 0 < _reach(finished) < palette.SQUEEZED * _reach(near):
        near = finished
    start, narrowest = ([0.0], 0.0) if measure(axes.x).unit == "" else ([], palette.NARROWEST)

    def around(extents: Sequence[_Extent], of_levels: Iterable[float]) -> list[list[float]]:
        heights = [end for extent in extents for end in (extent.low, extent.high)]
        return [
            _around([*start, *(extent.x for extent in extents)], narrowest),
            _around([*heights, *of_levels], palette.NARROWEST),
        ]

    _, (low, high) = close = around(near, [of for name, of in levels.items() if name != GUESSING])
    if low > levels.get(GUESSING, low) > low - (high - low) / 4:
        close = around(near, levels.values())
    return {"close": close, "all": around(everything, levels.values())}


def _extents(trace: Figure) -> list[_Extent]:
    none = [0.0] * len(trace["x"])
    up, down = (trace["error_y"].get(name, none) for name in ("array", "arrayminus"))
    marks = zip(trace["x"], trace["y"], up, down, trace["marker"]["opacity"], strict=True)
    stopped = trace["uid"].startswith(STOPPED)
    return [_Extent(x, y - below, y + above, opacity > FAINT, stopped) for x, y, above, below, opacity in marks]


def _reach(extents: Sequence[_Extent]) -> float:
    return max((extent.x for extent in extents), default=0.0)


def _around(values: Sequence[float], least: float) -> list[float]:
    """Put a margin around values, so that the range is not shorter than the least."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2) or 0.5
    return [round(low - pad, 5), round(high + pad, 5)]


# --- traces -----------------------------------------------------------------------------------------------


def _marks(name: str, uid: str, rows: Sequence[PointRow], axes: _Axes, marker: Figure) -> Figure:
    return {"type": "scatter", "mode": "markers", "name": name, "uid": uid, **axes.places(rows), "marker": marker}


def _defense(name: str, rows: Sequence[PointRow], axes: _Axes, size: int) -> Figure:
    mark, rows = palette.defense(name), [row for row in rows if row.point.defense == name]
    marker = {
        "color": mark.color,
        "symbol": mark.symbol,
        "size": size,
        "opacity": [FAINT if row.state == "beyond" else 0.95 for row in rows],
        "line": {"width": 1.5 if mark.symbol.endswith("open") else 0},
    }
    bars = {"error_x": _bars(axes.x, rows), "error_y": _bars(axes.y, rows)}
    return _marks(name, f"defense-{name}", rows, axes, marker) | bars


def _bars(name: str, rows: Sequence[PointRow]) -> Figure:
    """Draw 95 % intervals, or else ranges over seeds; none where neither is known."""
    bars = [row.bar(name) for row in rows]
    if None in bars:
        return {"visible": False}
    pairs = [(row.test[name], bar) for row, bar in zip(rows, bars, strict=True) if bar]
    return {
        "type": "data",
        "symmetric": False,
        "array": [round(_shown(name, high - value), 4) for value, (_, high) in pairs],
        "arrayminus": [round(_shown(name, value - low), 4) for value, (low, _) in pairs],
        "thickness": 1,
        "width": 0,
    }


def _stopped(name: str, rows: Sequence[PointRow], axes: _Axes, size: int) -> Figure:
    """Draw stopped points open, at what their clones had reached, with a tick upwards: they would reach more."""
    mark, rows = palette.defense(name), [row for row in rows if row.point.defense == name]
    marker = {
        "color": mark.color,
        "symbol": f"{mark.symbol.removesuffix('-open')}-open",
        "size": size - 2,
        "opacity": [0.8] * len(rows),
        "line": {"width": 1},
    }
    tick = {"type": "constant", "value": TICK, "valueminus": 0, "symmetric": False, "thickness": 1, "width": 0}
    bars = {"error_x": {"visible": False}, "error_y": tick}
    return _marks(f"{name}, stopped", f"{STOPPED}{name}", rows, axes, marker) | bars


def _steps(name: str, rows: Sequence[PointRow], axes: _Axes, dear: float) -> Figure:
    """Draw a defense's own front, from cheap to dear: at each budget the dearest member within it."""
    places = axes.places(rows)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{name}’s front",
        "uid": f"line-{name}",
        "hoverinfo": "skip",
        "x": [*places["x"], dear],
        "y": [*places["y"], places["y"][-1]],
        "line": {"color": palette.defense(name).color, "shape": "hv", "width": 1.5},
    }


def _rings(rows: Sequence[PointRow], axes: _Axes, size: int) -> Figure:
    """Draw rings around the members of the joint front."""
    marker = {"symbol": "circle-open", "size": size + 9, "line": {"width": 1.5}}
    rings = _marks("joint front", "front", rows, axes, marker) | {"hoverinfo": "skip"}
    del rings["customdata"]  # a click goes to the mark within
    return rings


def _level(level: float, dash: str) -> Figure:
    along = {"xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
    return {"type": "line", "layer": "below", **along, "line": {"dash": dash, "width": 1.2}}


def _label(text: str, level: float) -> Figure:
    place = {"xref": "paper", "x": 1, "xanchor": "right", "y": level, "yanchor": "bottom"}
    return {"text": text, "showarrow": False, **place}
