"""Charts in Plotly's words, as plain data: what is drawn. The page adds colors of its theme and the sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from emma_tune.config import SEARCHED, Study
from emma_tune.report.details import Curve, Matrix
from emma_tune.report.palette import ATTACKS, DEFENSES, STAGES
from emma_tune.report.rows import Row

Figure = dict[str, Any]
"""`data`: traces; `layout`: what is peculiar to this chart."""

CROWD = 200
"""Points from which on marks are smaller."""

DASHES = ("solid", "dash", "dot", "dashdot")


def front(
    rows: Sequence[Row],
    members: Collection[int],
    *,
    attacker: str | None,
    undefended: float | None,
    chance: float | None,
) -> Figure:
    """Budget against clone accuracy, test figures: a trace for each defence, then stopped points, then rings.

    Args:
        rows: all points.
        members: numbers of those on the front.
        attacker: the thief whose clone is drawn; points that it cannot attack are left out. The worst if None.
        undefended: clone accuracy without a defence; None if unknown.
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
    traces.append(_rings([row for row in drawn if row.point.number in members], attacker, size))
    levels = [("no defence", undefended, "dash"), ("guessing", chance, "dot")]
    known = [(text, 100 * level, dash) for text, level, dash in levels if level is not None]
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "budget l1: mean ‖p′ − p‖₁"}},
            "yaxis": {"title": {"text": f"{attacker or 'worst'} clone’s accuracy, %"}},
            "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
            "shapes": [_line(level, dash) for _, level, dash in known],
            "annotations": [_label(f"{text} {level:.1f} %", level) for text, level, _ in known],
        },
    }


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
            "opacity": [0.3 if row.state == "beyond" else 0.95 for row in rows],
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
    """Ticks at the bottom: their clones have no test figures, so that a budget is all that belongs here."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "stopped as dominated",
        "uid": "stopped",
        "x": [round(row.test["l1"], 5) for row in rows],
        "y": [0.02] * len(rows),
        "yaxis": "y2",
        "customdata": [row.point.number for row in rows],
        "marker": {"symbol": "line-ns-open", "size": 10, "line": {"width": 1.5}},
    }


def _rings(rows: Sequence[Row], attacker: str | None, size: int) -> Figure:
    """Rings, not a line: members are chosen by validation figures, so that test figures need not descend."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "on the front",
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


def thieves(study: Study) -> dict[str, dict[str, str]]:
    """How the clones of each thief are drawn: a color for its kind, a dash for each of that kind."""
    seen: dict[str, int] = {}
    looks = {}
    for name, thief in study.attackers.items():
        number = seen.setdefault(thief.kind, 0)
        seen[thief.kind] += 1
        looks[name] = {"color": ATTACKS[thief.kind], "dash": DASHES[number % len(DASHES)]}
    return looks


def losses(of_stages: Mapping[str, Mapping[int, Curve]]) -> Figure:
    """Training losses of victims and surrogates, a line for each seed."""
    data = [
        _curve(f"{stage}, seed {run}", curve, STAGES[stage], DASHES[number % len(DASHES)])
        for stage, of_runs in of_stages.items()
        for number, (run, curve) in enumerate(of_runs.items())
    ]
    return {"data": data, "layout": _axes("epoch", "training loss")}


def traces(matrices: Sequence[Matrix]) -> Figure:
    """Trace of each learned matrix over its optimisation: K releases p as it is, less distorts more."""
    learned = [matrix for matrix in matrices if matrix.traces]
    data = [
        _curve(label(matrix), matrix.traces, DEFENSES[SEARCHED].color, DASHES[number % len(DASHES)])
        for number, matrix in enumerate(learned)
    ]
    return {"data": data, "layout": _axes("epochs of the matrix", "trace(T)")}


def spectrum(matrices: Sequence[Matrix]) -> Figure:
    """Singular values of each matrix, largest first: where they vanish nobody can undo T."""
    data = [
        _curve(
            label(matrix),
            [float(f"{value:.5g}") for value in matrix.singular_values],
            DEFENSES[matrix.point.defense].color,
            DASHES[number % len(DASHES)],
        )
        for number, matrix in enumerate(matrices)
    ]
    layout = _axes("singular value, largest first", "size")
    layout["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return {"data": data, "layout": layout}


def heat_map(matrix: Matrix) -> Figure:
    """T: row the victim's class, column the released one."""
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
    """A matrix in a legend."""
    return f"point {matrix.point.number} ({matrix.point.defense})"


def _curve(name: str, values: Curve, color: str, dash: str) -> Figure:
    """Values by epoch, or by rank, from 1."""
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
