"""The other charts for Plotly, as plain data: losses, traces, spectra, and heat maps of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emma_tune.defenses import LEARNED
from emma_tune.outputs import palette
from emma_tune.outputs.report.front_chart import Figure
from emma_tune.outputs.report.records import Curve, Matrix
from emma_tune.stages.metrics import significant
from emma_tune.study import Study

DASHES = ("solid", "dash", "dot", "dashdot")


def attacker_lines(study: Study) -> dict[str, dict[str, str]]:
    """Choose how the clones of each attacker are drawn: a color for its kind, a dash for each of that kind."""
    kinds = [attacker.kind for attacker in study.attackers.values()]
    return {
        name: {"color": palette.attacker(kind), "dash": _dash(kinds[:place].count(kind))}
        for place, (name, kind) in enumerate(zip(study.attackers, kinds, strict=True))
    }


def losses(of_stages: Mapping[str, Mapping[int, Curve]]) -> Figure:
    """Draw training losses of victims and surrogates, a line for each seed."""
    data = [
        _curve(f"{stage}, seed {run}", curve, palette.stage(stage).color, _dash(place))
        for stage, of_runs in of_stages.items()
        for place, (run, curve) in enumerate(of_runs.items())
    ]
    return _chart(data, "epoch", "training loss")


def traces(matrices: Sequence[Matrix], study: Study) -> Figure:
    """Draw the trace of each learned matrix over its optimization: K releases p as it is, less distorts more."""
    looks = zip(matrices, _looks(matrices), strict=True)
    data = [_curve(matrix.named(study), matrix.traces, *look) for matrix, look in looks if matrix.traces]
    return _chart(data, "epochs of the matrix", "trace(T)")


def spectrum(matrices: Sequence[Matrix], study: Study) -> Figure:
    """Draw the singular values of each matrix that are not 0, largest first: K of them if T can be undone."""
    data = [
        _curve(matrix.named(study), [float(f"{of:.5g}") for of in significant(matrix.singular_values)], *look)
        for matrix, look in zip(matrices, _looks(matrices), strict=True)
    ]
    chart = _chart(data, "singular value, largest first", "size")
    chart["layout"]["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return chart


def heat_map(matrix: Matrix) -> Figure:
    """Draw T: a row for the victim's class, a column for the released one."""
    trace = {
        "type": "heatmap",
        "z": [[round(float(value), 4) for value in row] for row in matrix.entries],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "from class %{y} to %{x}: %{z:.4f}<extra></extra>",
    }
    chart = _chart([trace], "released as", "class")
    for axis in chart["layout"].values():
        axis |= {"constrain": "domain", "showgrid": False}
    chart["layout"]["yaxis"] |= {"autorange": "reversed", "scaleanchor": "x"}
    return chart


def _looks(matrices: Sequence[Matrix]) -> list[tuple[str, str]]:
    """Choose a color and a dash for each matrix: learned ones along the ramp, controls in their own color."""
    learned = [matrix.point.number for matrix in matrices if matrix.point.defense in LEARNED]
    colors = dict(zip(learned, palette.ramp(len(learned)), strict=True))
    return [
        (colors.get(matrix.point.number, palette.defense(matrix.point.defense).color), _dash(place))
        for place, matrix in enumerate(matrices)
    ]


def _dash(place: int) -> str:
    return DASHES[place % len(DASHES)]


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


def _chart(data: list[Figure], x: str, y: str) -> Figure:
    return {"data": data, "layout": {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}}
