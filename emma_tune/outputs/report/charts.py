"""Charts for Plotly, as plain data. The page adds the colors of its theme and the sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emma_tune.defenses import LEARNED
from emma_tune.outputs.palette import ATTACKS, DEFENSES, STAGES, ramp
from emma_tune.outputs.report.details import Curve, Matrix
from emma_tune.outputs.report.rows import Row, cheap_first
from emma_tune.study import Study
from emma_tune.study.measures import measure

Figure = dict[str, Any]
"""`data`: traces; `layout`: what this chart alone needs."""

CROWD = 200
"""Points from which on marks are smaller."""

NARROWEST = 4.0
"""Points of accuracy that an axis shows at least."""

TICK = 1.5
"""Points of accuracy: the length of the tick of a stopped point."""

THIN = {"thickness": 1, "width": 0}
"""How bars are drawn."""

GUESSING = "guessing"
"""The level that is shown only where it is near."""

FAINT = 0.3
"""Opacity of points beyond the limits."""

DASHES = ("solid", "dash", "dot", "dashdot")


def front(
    study: Study,
    rows: Sequence[Row],
    members: Collection[int],
    own: Mapping[str, Collection[int]],
    *,
    attack: str,
    undefended: float | None,
    chance: float | None,
) -> Figure:
    """Draw the budget of the study against clone accuracy, by test figures.

    There is a trace for each defense and one for its stopped points, a line for the front of each searched
    defense, and one of rings around the joint front. `layout.meta` has the ranges of both axes: `close` and `all`.

    Args:
        study: its budget is the horizontal axis.
        rows: all points.
        members: numbers of those on the joint front.
        own: numbers of those on each searched defense's own front.
        attack: the measure of clones that is drawn; points without it are left out.
        undefended: clone accuracy without a defense; None if unknown.
        chance: of guessing; None if unknown.
    """
    axes = _Axes(study.budget, attack)
    drawn = [row for row in rows if row.state != "dominated" and axes.x in row.test and attack in row.test]
    stopped = [row for row in rows if axes.x in row.test and row.bound(attack)]
    size = 10 if len(drawn) + len(stopped) < CROWD else 7
    traces = [
        trace
        for name in DEFENSES
        for trace in (_defense(name, drawn, axes, size), _stopped(name, stopped, axes, size))
        if trace["x"]
    ]
    levels = {"no defense": undefended, GUESSING: chance}
    known = {name: 100 * level for name, level in levels.items() if level is not None}
    meta = _ranges(traces, known, axes)
    dear = meta["all"][0][1 if measure(axes.x).direction == "min" else 0]
    for name, numbers in own.items():
        on_it = sorted(
            (row for row in drawn if row.point.number in numbers),
            key=lambda row: cheap_first(study, row.test[axes.x]),
        )
        traces += [_steps(name, on_it, axes, dear)] if on_it else []
    traces.append(_rings([row for row in drawn if row.point.number in members], axes, size))
    return {
        "data": traces,
        "layout": {
            "meta": meta,
            "xaxis": {"title": {"text": measure(axes.x).axis()}},
            "yaxis": {"title": {"text": measure(axes.y).axis()}},
            "shapes": [_line(level, "dot" if name == GUESSING else "dash") for name, level in known.items()],
            "annotations": [_label(f"{name} {level:.1f} %", level) for name, level in known.items()],
        },
    }


Ends = tuple[float, float, float, bool]
"""Of a mark x, the lower and the upper end of its bar, and whether it is within the limits."""


class _Axes(NamedTuple):
    """The measures on the axes."""

    x: str
    y: str

    def places(self, rows: Sequence[Row]) -> Figure:
        """Where rows are drawn, with their numbers."""
        return {
            "x": [round(_shown(self.x, row.test[self.x]), 5) for row in rows],
            "y": [round(_shown(self.y, _height(row, self.y)), 3) for row in rows],
            "customdata": [row.point.number for row in rows],
        }


def _shown(name: str, value: float) -> float:
    return measure(name).scale * value


def _height(row: Row, name: str) -> float:
    """What clones have reached: on test images, or at a stopped point at least, on validation images."""
    return row.bound(name) or row.test[name]


def _ranges(traces: Sequence[Figure], levels: Mapping[str, float], axes: _Axes) -> dict[str, list[list[float]]]:
    """Choose ranges for x and y.

    Returns:
        `all`: of everything in the chart. `close`: of points within the limits (of all where there are none) and
        of the clone without a defense; of guessing only where it is near.
    """
    near = [place for trace in traces for place in _ends(trace) if place[-1]]
    everything = [place for trace in traces for place in _ends(trace)]
    start = [0.0] if measure(axes.x).unit == "" else []
    narrowest = NARROWEST if measure(axes.x).unit else 0.0

    def around(
        places: Sequence[tuple[float, float, float, bool]], of_levels: Iterable[float]
    ) -> list[list[float]]:
        heights = [end for _, low, high, _ in places for end in (low, high)]
        return [
            _around([*start, *(x for x, *_ in places)], narrowest),
            _around([*heights, *of_levels], NARROWEST),
        ]

    _, (low, high) = close = around(near or everything, [of for name, of in levels.items() if name != GUESSING])
    guessing = levels.get(GUESSING)
    if guessing is not None and low > guessing > low - (high - low) / 4:
        close = around(near or everything, levels.values())
    return {"close": close, "all": around(everything, levels.values())}


def _ends(trace: Figure) -> Iterator[Ends]:
    """Place every mark."""
    none = [0.0] * len(trace["x"])
    up, down = (trace["error_y"].get(name, none) for name in ("array", "arrayminus"))
    for x, y, above, below, opacity in zip(
        trace["x"], trace["y"], up, down, trace["marker"]["opacity"], strict=True
    ):
        yield x, y - below, y + above, opacity > FAINT


def _around(values: Sequence[float], least: float) -> list[float]:
    """Put a margin around values, so that the range is not shorter than the least."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2) or 0.5
    return [round(low - pad, 5), round(high + pad, 5)]


def _defense(name: str, rows: Sequence[Row], axes: _Axes, size: int) -> Figure:
    mark, rows = DEFENSES[name], [row for row in rows if row.point.defense == name]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "uid": f"defense-{name}",
        **axes.places(rows),
        "error_x": _bars(axes.x, rows),
        "error_y": _bars(axes.y, rows),
        "marker": {
            "color": mark.color,
            "symbol": mark.symbol,
            "size": size,
            "opacity": [FAINT if row.state == "beyond" else 0.95 for row in rows],
            "line": {"width": 1.5 if mark.symbol.endswith("open") else 0},
        },
    }


def _bars(name: str, rows: Sequence[Row]) -> Figure:
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
        **THIN,
    }


def _stopped(name: str, rows: Sequence[Row], axes: _Axes, size: int) -> Figure:
    """Draw stopped points open, at what their clones had reached, with a tick upwards: they would reach more."""
    rows = [row for row in rows if row.point.defense == name]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name}, stopped",
        "uid": f"stopped-{name}",
        **axes.places(rows),
        "error_x": {"visible": False},
        "error_y": {
            "type": "constant",
            "value": TICK,
            "valueminus": 0,
            "symmetric": False,
            "thickness": 1,
            "width": 0,
        },
        "marker": {
            "color": DEFENSES[name].color,
            "symbol": f"{DEFENSES[name].symbol.removesuffix('-open')}-open",
            "size": size - 2,
            "opacity": [0.8] * len(rows),
            "line": {"width": 1},
        },
    }


def _steps(name: str, rows: Sequence[Row], axes: _Axes, dear: float) -> Figure:
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
        "line": {"color": DEFENSES[name].color, "shape": "hv", "width": 1.5},
    }


def _rings(rows: Sequence[Row], axes: _Axes, size: int) -> Figure:
    """Draw rings around the members of the joint front."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "joint front",
        "uid": "front",
        "hoverinfo": "skip",
        **{name: values for name, values in axes.places(rows).items() if name != "customdata"},
        "marker": {"symbol": "circle-open", "size": size + 9, "line": {"width": 1.5}},
    }


def _line(level: float, dash: str) -> Figure:
    along = {"xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
    return {"type": "line", "layer": "below", **along, "line": {"dash": dash, "width": 1.2}}


def _label(text: str, level: float) -> Figure:
    place = {"xref": "paper", "x": 1, "xanchor": "right", "y": level, "yanchor": "bottom"}
    return {"text": text, "showarrow": False, **place}


def attackers(study: Study) -> dict[str, dict[str, str]]:
    """Choose how the clones of each attacker are drawn: a color for its kind, a dash for each of that kind."""
    seen: dict[str, int] = {}
    looks = {}
    for name, attacker in study.attackers.items():
        number = seen.setdefault(attacker.kind, 0)
        seen[attacker.kind] += 1
        looks[name] = {"color": ATTACKS[attacker.kind], "dash": DASHES[number % len(DASHES)]}
    return looks


def losses(of_stages: Mapping[str, Mapping[int, Curve]]) -> Figure:
    """Draw training losses of victims and surrogates, a line for each seed."""
    data = [
        _curve(f"{stage}, seed {run}", curve, STAGES[stage], DASHES[number % len(DASHES)])
        for stage, of_runs in of_stages.items()
        for number, (run, curve) in enumerate(of_runs.items())
    ]
    return {"data": data, "layout": _axes("epoch", "training loss")}


def traces(matrices: Sequence[Matrix], budget: str) -> Figure:
    """Draw the trace of each learned matrix over its optimization: K releases p as it is, less distorts more."""
    looks = _looks(matrices)
    data = [
        _curve(label(matrix, budget), matrix.traces, *look)
        for matrix, look in zip(matrices, looks, strict=True)
        if matrix.traces
    ]
    return {"data": data, "layout": _axes("epochs of the matrix", "trace(T)")}


def spectrum(matrices: Sequence[Matrix], budget: str) -> Figure:
    """Draw the singular values of each matrix, largest first: if one is 0, T cannot be undone."""
    data = [
        _curve(label(matrix, budget), [float(f"{value:.5g}") for value in matrix.singular_values], *look)
        for matrix, look in zip(matrices, _looks(matrices), strict=True)
    ]
    layout = _axes("singular value, largest first", "size")
    layout["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return {"data": data, "layout": layout}


def _looks(matrices: Sequence[Matrix]) -> list[tuple[str, str]]:
    """Choose a color and a dash for each matrix: learned ones along the ramp, controls in their own color."""
    learned = [matrix.point.number for matrix in matrices if matrix.point.defense in LEARNED]
    colors = dict(zip(learned, ramp(len(learned)), strict=True))
    return [
        (colors.get(matrix.point.number, DEFENSES[matrix.point.defense].color), DASHES[place % len(DASHES)])
        for place, matrix in enumerate(matrices)
    ]


def heat_map(matrix: Matrix) -> Figure:
    """Draw T: a row for the victim's class, a column for the released one."""
    return {
        "data": [
            {
                "type": "heatmap",
                "z": [[round(float(value), 4) for value in row] for row in matrix.entries],
                "zmin": 0,
                "zmax": 1,
                "showscale": False,
                "hovertemplate": "from class %{y} to %{x}: %{z:.4f}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"constrain": "domain", "showgrid": False, "title": {"text": "released as"}},
            "yaxis": {
                "autorange": "reversed",
                "scaleanchor": "x",
                "constrain": "domain",
                "showgrid": False,
                "title": {"text": "class"},
            },
        },
    }


def label(matrix: Matrix, budget: str) -> str:
    """Name a matrix in a legend."""
    stopped = ", stopped" if matrix.row.state == "dominated" else ""
    cost = f"{measure(budget).head} {measure(budget).shown(matrix.row.test[budget])}"
    return f"point {matrix.point.number} ({matrix.point.defense}, {cost}{stopped})"


def _curve(name: str, values: Curve, color: str, dash: str) -> Figure:
    """Draw values by epoch, or by rank, from 1."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(range(1, len(values) + 1)),
        "y": [round(value, 5) if value > 1e-3 else value for value in values],
        "line": {"color": color, "dash": dash, "width": 1.8},
        "marker": {"size": 4},
    }


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
