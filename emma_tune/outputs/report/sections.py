"""What the page shows in each section, as plain data for its template and its script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from emma_tune.defenses import UNDEFENDED
from emma_tune.outputs.points import PointRow, budget_of
from emma_tune.outputs.report import charts
from emma_tune.outputs.report.content import Content
from emma_tune.outputs.report.records import Matrix
from emma_tune.outputs.report.sentences import knowledge
from emma_tune.outputs.words import confirmed_standing, listed, parameters, percent, plural
from emma_tune.results.stops import STOPS, why_stopped
from emma_tune.study.measures import ATTACKERS, MEASURES, measure

STANDING = {
    "front": "on the front",
    "finished": "finished",
    "beyond": "beyond the limits",
    **dict.fromkeys(STOPS, "stopped"),
    "failed": "failed",
    "unfinished": "unfinished",
}


class Figure(NamedTuple):
    """A number in a table, and its 95 % interval, as shown; sorted by value, which is empty if missing: last."""

    text: str
    value: float | str
    interval: str = ""


MISSING = Figure("–", "")


def lead_figures(content: Content) -> Iterator[tuple[str, str]]:
    """Name and show the numbers of the answer."""
    summary = content.summary
    chosen, without, (_, attack) = summary.chosen, summary.undefended, summary.study.axes
    yield f"{attack.head}, no defense", attack.shown(summary.clone(without)) if without else "–"
    if chosen and chosen["defense"] != UNDEFENDED:
        yield f"{attack.head} at point {chosen['point']}", attack.shown(summary.clone(chosen))
        for name in dict.fromkeys((summary.study.budget, "accuracy_drop")):
            yield _titled(name), measure(name).shown(chosen[name])
    yield "guessing", percent(summary.chance) if summary.chance else "–"


def _titled(name: str) -> str:
    """Name a measure with the images that it is of."""
    return f"{measure(name).label}, {measure(name).images()}"


def columns(content: Content) -> dict[str, str]:
    """Choose the measures in the table of points, the budget first, with their heads."""
    study = content.summary.study
    costs_first = sorted(study.measures, key=lambda name: (name != study.budget, measure(name).of_clones))
    names = (*costs_first, *(f"{ATTACKERS}{name}" for name in study.attackers))
    return {name: ", ".join(filter(None, (measure(name).head, measure(name).unit))) for name in names}


def standing(row: PointRow) -> str:
    """Say how a point stands, and why."""
    return f"{STANDING[row.state]}{': ' if row.note else ''}{row.note}"


def figure(row: PointRow, name: str) -> Figure:
    """Show a measure of a point with its interval, or the bound of a stopped one."""
    bound = row.bound(name) if measure(name).of_clones else None
    if bound is not None:
        return Figure(f"≥ {_number(name, bound)}", measure(name).scale * bound)
    if name not in row.test:
        return MISSING
    value, ends = row.test[name], row.intervals.get(name, ())
    return Figure(_number(name, value), measure(name).scale * value, "–".join(_number(name, end) for end in ends))


def _number(name: str, value: float) -> str:
    """Show a measure without its unit."""
    return f"{100 * value:.1f}" if measure(name).unit else f"{value:.3f}"


def matrix_caption(content: Content, matrix: Matrix) -> str:
    """Describe a matrix: its point, whether that is on a front, its budget and its trace."""
    on_front = matrix.point.number in content.fronts[0].numbers
    state = "; stopped" if matrix.row.stopped else "" if on_front else "; not on a front"
    inside = ", ".join(filter(None, [matrix.point.defense, parameters(matrix.point.params)]))
    budget = budget_of(content.summary.study, matrix.row.test)
    return f"Point {matrix.point.number}: {inside}{state}. {budget}, trace {matrix.entries.trace():.2f}."


def savings(content: Content) -> Iterator[str]:
    """Say what was shared and left out."""
    costs, status = content.costs.values(), content.summary.status
    left_out, run, stopped = status["left_out"], status["last_run"], status["points"]["stopped"]
    yield (
        f"{sum(cost.seconds for cost in costs):,.0f} s of work in all. “Used” counts how often a concluded point "
        f"needed one of a stage’s tasks; without sharing, {sum(cost.spared for cost in costs):,.0f} s more would "
        "have been needed."
    )
    if stopped:
        why = ", ".join(why_stopped(status["points"]))
        yield (
            f"{plural(stopped, 'point')} stopped early ({why}): {plural(int(left_out['epochs']), 'epoch')} of "
            f"clones left out, about {left_out['seconds']:,.0f} s."
        )
    if run and run["span"]:
        yield (
            f"Last run: {run['startup']:.1f} s until the first trial, then {run['span']:,.0f} s with "
            f"{100 * run['utilization']:.0f} % of {plural(run['slots'], 'slot')} at work."
        )


def confirmed_rows(content: Content) -> Iterator[list[str]]:
    """List what fresh seeds say about the chosen points, a row for each measure."""
    for point in content.confirmation["points"] if content.confirmation else ():
        first = [str(point["point"]), point["defense"]]
        if "measures" not in point:
            yield [*first, *["–"] * 4, point["state"]]
            continue
        state = confirmed_standing(point)
        for name, of in point["measures"].items():
            reach = "–" if of["low"] is None else f"{of['low']:.4f} … {of['high']:.4f}"
            searched = "–" if of["searched"] is None else f"{of['searched']:.4f}"
            yield [*first, measure(name).head, searched, f"{of['mean']:.4f}", reach, state]
            first, state = ["", ""], ""


def counts(content: Content) -> Iterator[tuple[str, str]]:
    """Count the points by state."""
    names = {"infeasible": "finished beyond the limits", "excluded": "stopped beyond the limits"}
    names |= {"dominated": "stopped as dominated"}
    for name, count in content.summary.status["points"].items():
        yield f"points {names.get(name, name)}", f"{count:,}"


def provenance(content: Content) -> list[tuple[str, str]]:
    """List seeds, fingerprints, versions and hosts."""
    study, records, planner = content.summary.study, content.records, content.view.planner
    pairs = [
        ("seeds", ", ".join(map(str, study.seeds))),
        ("repeats", ", ".join(map(str, study.repeats))),
        *((f"images of the {name}", fingerprint) for name, fingerprint in planner.images.items()),
        *((f"weights, {name}", fingerprint) for name, fingerprint in planner.weights.items()),
        ("images answered", listed([f"{count:,} {part}" for part, count in content.summary.images.items()])),
        ("versions", ", ".join(sorted(records.versions))),
        ("hosts", ", ".join(sorted(records.hosts))),
        ("devices", ", ".join(sorted(records.devices))),
    ]
    return [(term, text or "–") for term, text in pairs]


def script_data(content: Content) -> dict[str, Any]:
    """Collect the data for the script of the page."""
    matrices, chosen, study = content.records.matrices, content.summary.chosen, content.summary.study
    figures = {
        "losses": charts.losses(content.records.losses),
        "traces": charts.traces(matrices, study),
        "spectrum": charts.spectrum(matrices, study),
        **{f"matrix-{index}": charts.heat_map(matrix) for index, matrix in enumerate(matrices)},
    }
    lines = charts.attacker_lines(study)
    return {
        "chosen": chosen["point"] if chosen else next(iter(content.fronts[0].members), None),
        "fronts": [{"note": front.note, "figure": front.figure} for front in content.fronts],
        "attackers": {name: {"knows": text, **lines[name]} for name, text in knowledge(content.summary).items()},
        "charts": {name: figure for name, figure in figures.items() if figure["data"]},
        "points": {row.point.number: _panel(content, row) for row in content.rows},
    }


def _panel(content: Content, row: PointRow) -> dict[str, Any]:
    """Describe a point for its panel and for what hovers over its mark."""
    attack = content.summary.study.attack
    measures = [[_titled(name), _valued(row, name)] for name in MEASURES if name in row.test]
    bound = row.bound(attack)
    if bound is not None:
        measures.append([f"{measure(attack).label} when stopped, validation images", f"≥ {percent(bound)}"])
    elif row.validation:
        validated = measure(attack).shown(row.validation[attack])
        measures.append([f"{measure(attack).label}, validation images", validated])
    curves = content.records.clones.get(row.point.number, {})
    return {
        "title": f"Point {row.point.number}: {row.point.defense}",
        "parameters": parameters(row.point.params),
        "standing": standing(row),
        "measures": measures,
        "clones": {name: _valued(row, f"{ATTACKERS}{name}") for name in row.clones},
        "curves": {name: [round(100 * value, 2) for value in curve] for name, curve in curves.items()},
    }


def _valued(row: PointRow, name: str) -> str:
    """Show a measure with its 95 % interval and its range over seeds, where they are known."""
    ranges: dict[str, Sequence[float] | None] = {"95 %": row.intervals.get(name), "seeds": row.spread.get(name)}
    known = [f"{what} {' – '.join(_number(name, end) for end in ends)}" for what, ends in ranges.items() if ends]
    return measure(name).shown(row.test[name]) + (f" ({'; '.join(known)})" if known else "")
