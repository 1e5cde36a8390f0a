"""Charts for Plotly, as plain data. The page adds the colors of its theme and the sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emma_tune.config import SEARCHED, Study
from emma_tune.report.details import Curve, Matrix
from emma_tune.report.palette import ATTACKS, DEFENSES, STAGES, ramp
from emma_tune.report.rows import Row

Figure = dict[str, Any]
"""`data`: traces; `layout`: what this chart alone needs."""

CROWD = 200
"""Points from which on marks are smaller."""

NARROWEST = 4.0
"""Points of accuracy that an axis shows at least."""

FAINT = 0.3
"""Opacity of points beyond the limits."""

DASHES = ("solid", "dash", "dot", "dashdot")


def front(
    rows: Sequence[Row],
    members: Collection[int],
    own: Mapping[str, Collection[int]],
    *,
    attacker: str | None,
    undefended: float | None,
    chance: float | None,
) -> Figure:
    """Draw budget against clone accuracy, by test figures.

    There is a trace for each defense, one for stopped points, a line for the front of each searched defense, and
    one of rings around the joint front. `layout.meta` has the ranges of both axes: `close` and `all`.

    Args:
        rows: all points.
        members: numbers of those on the joint front.
        own: numbers of those on each searched defense's own front.
        attacker: whose clone is drawn; points that it cannot attack are left out. The worst if None.
        undefended: clone accuracy without a defense; None if unknown.
        chance: of guessing; None if unknown.
    """
    drawn = [row for row in rows if row.clones and (attacker is None or attacker in row.clones)]
    size = 10 if len(drawn) < CROWD else 7
    traces = [
        _defense(name, [row for row in drawn if row.point.defense == name], attacker, size)
        for name in DEFENSES
        if any(row.point.defense == name for row in drawn)
    ]
    stopped = [row for row in rows if row.state == "dominated" and "l1" in row.test]
    if stopped:
        traces.append(_stopped(stopped))
    levels = {"no defense": undefended, "guessing": chance}
    known = {name: 100 * level for name, level in levels.items() if level is not None}
    meta = _ranges(traces, known)
    for name, numbers in own.items():
        on_it = [row for row in drawn if row.point.number in numbers]
        traces += [_steps(name, on_it, attacker, meta["all"][0][1])] if on_it else []
    traces.append(_rings([row for row in drawn if row.point.number in members], attacker, size))
    return {
        "data": traces,
        "layout": {
            "meta": meta,
            "xaxis": {"title": {"text": "budget l1: mean ‖p′ − p‖₁, test images"}},
            "yaxis": {"title": {"text": f"accuracy of the {attacker or 'worst'} clone, test images, %"}},
            "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
            "shapes": [_line(level, "dash" if name == "no defense" else "dot") for name, level in known.items()],
            "annotations": [_label(f"{name} {level:.1f} %", level) for name, level in known.items()],
        },
    }


class _Place(NamedTuple):
    """Where a point is drawn: its budget, its clone from the lower end of the bar to the upper, its standing."""

    x: float
    low: float
    high: float
    kept: bool


def _places(traces: Sequence[Figure]) -> Iterator[_Place]:
    for trace in traces:
        bars = trace.get("error_y", {})
        none = [0.0] * len(trace["x"])
        up, down = bars.get("array", none), bars.get("arrayminus", none)
        if trace["uid"] != "stopped":
            for x, y, above, below, opacity in zip(
                trace["x"], trace["y"], up, down, trace["marker"]["opacity"], strict=True
            ):
                yield _Place(x, y - below, y + above, opacity > FAINT)


def _ranges(traces: Sequence[Figure], levels: Mapping[str, float]) -> dict[str, list[list[float]]]:
    """Choose ranges for x and y.

    Returns:
        `all`: of everything in the chart. `close`: of points within the limits (of all where there are none) and
        of the clone without a defense; of guessing only where it is near.
    """
    everything = list(_places(traces))
    budgets = [0.0, *(x for trace in traces if trace["uid"] == "stopped" for x in trace["x"])]
    near = [place for place in everything if place.kept] or everything
    close = [end for place in near for end in (place.low, place.high)]
    close += [level for name, level in levels.items() if name != "guessing"]
    guessing = levels.get("guessing")
    if guessing is not None and (not close or guessing > min(close) - (max(close) - min(close)) / 2):
        close.append(guessing)
    return {
        "close": [_around([*budgets, *(place.x for place in near)]), _around(close, NARROWEST)],
        "all": [
            _around([*budgets, *(place.x for place in everything)]),
            _around([*(end for of in everything for end in (of.low, of.high)), *levels.values()], NARROWEST),
        ],
    }


def _around(values: Sequence[float], least: float = 0.0) -> list[float]:
    """Put a margin around values, so that the range is not shorter than the least."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2) or 0.5
    return [round(low - pad, 5), round(high + pad, 5)]


def _clone(row: Row, attacker: str | None) -> float:
    return row.test["attacker_accuracy"] if attacker is None else row.clones[attacker]


def _defense(name: str, rows: Sequence[Row], attacker: str | None, size: int) -> Figure:
    mark = DEFENSES[name]
    clones = [_clone(row, attacker) for row in rows]
    spreads = [
        row.spread.get("attacker_accuracy") if attacker is None else row.clones_spread.get(attacker)
        for row in rows
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "uid": f"defense-{name}",
        "x": [round(row.test["l1"], 5) for row in rows],
        "y": [round(100 * clone, 3) for clone in clones],
        "customdata": [row.point.number for row in rows],
        "error_x": _bars([row.test["l1"] for row in rows], [row.spread.get("l1") for row in rows], 1),
        "error_y": _bars(clones, spreads, 100),
        "marker": {
            "color": mark.color,
            "symbol": mark.symbol,
            "size": size,
            "opacity": [FAINT if row.state == "beyond" else 0.95 for row in rows],
            "line": {"width": 1.5 if mark.symbol.endswith("open") else 0},
        },
    }


def _bars(values: Sequence[float], spreads: Sequence[tuple[float, float] | None], scale: float) -> Figure:
    """From the lowest to the highest seed; none with a single seed."""
    if any(spread is None for spread in spreads):
        return {"visible": False}
    pairs = [(value, spread) for value, spread in zip(values, spreads, strict=True) if spread]
    return {
        "type": "data",
        "symmetric": False,
        "array": [round(scale * (high - value), 4) for value, (_, high) in pairs],
        "arrayminus": [round(scale * (value - low), 4) for value, (low, _) in pairs],
        "thickness": 1,
        "width": 0,
    }


def _stopped(rows: Sequence[Row]) -> Figure:
    """Draw ticks at the bottom: clones of stopped points have no test figures, but their budgets are known."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "stopped",
        "uid": "stopped",
        "x": [round(row.test["l1"], 5) for row in rows],
        "y": [0.02] * len(rows),
        "yaxis": "y2",
        "customdata": [row.point.number for row in rows],
        "marker": {"symbol": "line-ns-open", "size": 10, "line": {"width": 1.5}},
    }


def _steps(name: str, rows: Sequence[Row], attacker: str | None, end: float) -> Figure:
    """Draw a defense's own front: at each budget, up to an end, the dearest member within it."""
    places = sorted((row.test["l1"], 100 * _clone(row, attacker)) for row in rows)
    places.append((end, places[-1][1]))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{name}’s front",
        "uid": f"line-{name}",
        "hoverinfo": "skip",
        "x": [round(x, 5) for x, _ in places],
        "y": [round(y, 3) for _, y in places],
        "line": {"color": DEFENSES[name].color, "shape": "hv", "width": 1.5},
    }


def _rings(rows: Sequence[Row], attacker: str | None, size: int) -> Figure:
    """Draw rings around the members of the joint front."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "joint front",
        "uid": "front",
        "hoverinfo": "skip",
        "x": [round(row.test["l1"], 5) for row in rows],
        "y": [round(100 * _clone(row, attacker), 3) for row in rows],
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


def traces(matrices: Sequence[Matrix]) -> Figure:
    """Draw the trace of each learned matrix over its optimization: K releases p as it is, less distorts more."""
    looks = _looks(matrices)
    data = [
        _curve(label(matrix), matrix.traces, *look)
        for matrix, look in zip(matrices, looks, strict=True)
        if matrix.traces
    ]
    return {"data": data, "layout": _axes("epochs of the matrix", "trace(T)")}


def spectrum(matrices: Sequence[Matrix]) -> Figure:
    """Draw the singular values of each matrix, largest first: if one is 0, T cannot be undone."""
    data = [
        _curve(label(matrix), [float(f"{value:.5g}") for value in matrix.singular_values], *look)
        for matrix, look in zip(matrices, _looks(matrices), strict=True)
    ]
    layout = _axes("singular value, largest first", "size")
    layout["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return {"data": data, "layout": layout}


def _looks(matrices: Sequence[Matrix]) -> list[tuple[str, str]]:
    """Choose a color and a dash for each matrix: learned ones along the ramp, controls in their own color."""
    learned = [matrix.point.number for matrix in matrices if matrix.point.defense == SEARCHED]
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


def label(matrix: Matrix) -> str:
    """Name a matrix in a legend."""
    stopped = ", stopped" if matrix.row.state == "dominated" else ""
    return f"point {matrix.point.number} ({matrix.point.defense}, l1 {matrix.row.test['l1']:.2f}{stopped})"


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
