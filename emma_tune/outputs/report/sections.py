"""The sections of the page as HTML, and the data for its script."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from emma_tune.outputs.report import charts
from emma_tune.outputs.report.content import Content
from emma_tune.outputs.report.details import Matrix
from emma_tune.outputs.report.facts import NOTHING
from emma_tune.outputs.report.markup import MISSING, Cell, Column, definitions, number, strong, table
from emma_tune.outputs.report.rows import Row
from emma_tune.outputs.words import listed, parameters, percent, plural
from emma_tune.study.measures import ATTACKERS, MEASURES, measure

STANDING = {
    "front": "on the front",
    "finished": "finished",
    "beyond": "beyond the limits",
    "dominated": "stopped",
    "failed": "failed",
    "unfinished": "unfinished",
}


def lead_figures(content: Content) -> str:
    """Show the numbers of the answer."""
    facts = content.facts
    chosen, without = facts.chosen, facts.undefended
    attack = facts.study.axes[1]
    pairs = [(f"{attack.head}, no defense", attack.shown(facts.clone(without)) if without else "–")]
    if chosen and chosen["defense"] != NOTHING:
        costs = dict.fromkeys((facts.study.budget, "accuracy_drop"))
        pairs.append((f"{attack.head} at point {chosen['point']}", attack.shown(facts.clone(chosen))))
        pairs += [(_titled(name), measure(name).shown(chosen[name])) for name in costs]
    pairs.append(("guessing", percent(facts.chance) if facts.chance else "–"))
    return definitions(pairs, "figures")


def _titled(name: str) -> str:
    """Name a measure with the images that it is of."""
    return f"{measure(name).label}, {measure(name).images()}"


def answers(content: Content) -> str:
    """Write the sentences of the answer."""
    return "".join(f"<p>{strong(sentence)}</p>" for sentence in content.answer)


def warnings(content: Content) -> str:
    """List the cautions, if there are any."""
    if not content.warnings:
        return ""
    items = "".join(f'<li data-kind="{caution.kind}">{escape(caution.text)}</li>' for caution in content.warnings)
    return f'<section id="warnings"><h2>Before you rely on it</h2><ul>{items}</ul></section>'


def attackers(content: Content) -> str:
    """List the attackers, and what each knows."""
    return definitions(content.knows.items(), "attackers")


def choices(content: Content) -> str:
    """List the options of the selector."""
    named = ((front.attacker, front.attacker or "the worst clone") for front in content.fronts)
    return "".join(f'<option value="{index}">{escape(name)}</option>' for index, (_, name) in enumerate(named))


def points(content: Content) -> str:
    """Make the table of points."""
    study = content.facts.study
    clones = [name for name in MEASURES if measure(name).of_clones]
    costs = dict.fromkeys((study.budget, *(name for name in MEASURES if name not in clones)))
    names = [*costs, *clones, *(f"{ATTACKERS}{name}" for name in study.attackers)]
    columns = [
        Column("point", number=True),
        Column("defense"),
        Column("parameters"),
        Column("standing"),
        *(Column(", ".join(filter(None, (measure(name).head, measure(name).unit))), True) for name in names),
    ]
    marks = [f'data-point="{row.point.number}" class="{row.state}"' for row in content.rows]
    rows = (_point(row, names) for row in content.rows)
    caption = (
        "All points: figures of test images (pool: of the query pool), with 95 % intervals of accuracies. ≥ is "
        "what clones of stopped points had reached on validation images. A point’s number shows its attackers."
    )
    return table(caption, columns, rows, name="points", sortable=True, marks=marks)


def _point(row: Row, names: Iterable[str]) -> list[Cell]:
    n = row.point.number
    return [
        Cell(f'<button type="button" aria-label="Point {n}">{n}</button>', n, markup=True),
        Cell(row.point.defense),
        Cell(parameters(row.point.params) or "–"),
        Cell(f"{STANDING[row.state]}{': ' if row.note else ''}{row.note}"),
        *(_figure(row, name) for name in names),
    ]


def _figure(row: Row, name: str) -> Cell:
    """Show a measure of a point with its interval, or the bound of a stopped one."""
    form, scale = ("{:.1f}", 100) if measure(name).unit else ("{:.3f}", 1)
    bound = row.bound(name) if measure(name).of_clones else None
    if bound is not None:
        return number(scale * bound, f"≥ {form}")
    value, ends = row.test.get(name), row.intervals.get(name)
    if value is None or ends is None:
        return MISSING if value is None else number(scale * value, form)
    low, high = (form.format(scale * end) for end in ends)
    return Cell(f"{form.format(scale * value)} <small>{low}–{high}</small>", scale * value, markup=True)


def matrices(content: Content) -> str:
    """Make a place for each heat map."""
    shown = content.details.matrices
    if not shown:
        return "<p>No matrix is finished yet.</p>"
    figures = "".join(
        f'<figure><div class="chart square" data-chart="matrix-{index}" role="img" aria-label="Matrix of point '
        f'{matrix.point.number}"></div><figcaption>{escape(_matrix(content, matrix))}</figcaption></figure>'
        for index, matrix in enumerate(shown)
    )
    return f'<div class="matrices">{figures}</div>'


def _matrix(content: Content, matrix: Matrix) -> str:
    on_front = matrix.point.number in content.fronts[0].numbers
    standing = "; stopped" if matrix.row.state == "dominated" else "" if on_front else "; not on a front"
    inside = ", ".join(filter(None, [matrix.point.defense, parameters(matrix.point.params)]))
    budget = content.facts.study.budget
    cost = f"{measure(budget).head} {measure(budget).shown(matrix.row.test[budget])}"
    measured = f"{cost}, trace {matrix.entries.trace():.2f}"
    return f"Point {matrix.point.number}: {inside}{standing}. {measured}."


def costs(content: Content) -> str:
    """Show the seconds by stage, and what was shared and left out."""
    total = sum(cost.seconds for cost in content.costs.values())
    if not content.costs:
        return "<p>No task is finished.</p>"
    columns = [
        Column("stage"),
        *(Column(name, True) for name in ("tasks", "from earlier runs", "seconds", "share", "used", "saved, s")),
    ]
    rows = [
        [
            Cell(stage),
            Cell(f"{cost.done:,}"),
            Cell(f"{cost.reused:,}"),
            Cell(f"{cost.seconds:,.1f}"),
            Cell(_bar(cost.seconds / total if total else 0.0), markup=True),
            Cell(f"{cost.uses:,} ×"),
            Cell(f"{cost.spared:,.1f}"),
        ]
        for stage, cost in content.costs.items()
    ]
    return table("Cost of the stages", columns, rows) + f"<p>{escape(_thrift(content, total))}</p>"


def _bar(share: float) -> str:
    return f'<span class="bar" style="--share:{100 * share:.1f}%">{100 * share:.0f} %</span>'


def _thrift(content: Content, total: float) -> str:
    status, spared = content.facts.status, sum(cost.spared for cost in content.costs.values())
    left_out, run, dominated = status["left_out"], status["last_run"], status["points"]["dominated"]
    sentences = [
        f"{total:,.0f} s of work in all. “Used” counts how often a concluded point needed one of a stage’s tasks; "
        f"without sharing, {spared:,.0f} s more would have been needed."
    ]
    if dominated:
        sentences.append(
            f"{plural(dominated, 'point')} stopped early: {plural(int(left_out['epochs']), 'epoch')} of "
            f"clones left out, about {left_out['seconds']:,.0f} s."
        )
    if run and run["span"]:
        sentences.append(
            f"Last run: {run['startup']:.1f} s until the first trial, then {run['span']:,.0f} s with "
            f"{100 * run['utilization']:.0f} % of {plural(run['slots'], 'slot')} at work."
        )
    return " ".join(sentences)


def confirmation(content: Content) -> str:
    """Show what fresh seeds say about the chosen points."""
    confirmed = content.confirmation
    if confirmed is None:
        return ""
    columns = [
        Column("point", number=True),
        Column("defense"),
        Column("measure"),
        *(Column(name, number=True) for name in ("searched", "mean", "95 % interval")),
        Column("standing"),
    ]
    rows = [cells for point in confirmed["points"] for cells in _confirmed(point)]
    title = f"{plural(confirmed['repeats'], 'repeat')} with fresh seeds, test figures"
    return f'<section id="confirmation"><h2>Confirmed with fresh seeds</h2>{table(title, columns, rows)}</section>'


def _confirmed(point: dict[str, Any]) -> Iterable[list[Cell]]:
    first = [Cell(str(point["point"])), Cell(point["defense"])]
    if "measures" not in point:
        yield [*first, *[MISSING] * 4, Cell(point["state"])]
        return
    standing = "not on the front of the search"
    if point["on_front"]:
        standing = "stays on the front" if point["still_on_front"] else f"leaves the front: {point['why']}"
    for name, of in point["measures"].items():
        reach = "–" if of["low"] is None else f"{of['low']:.4f} … {of['high']:.4f}"
        searched = "–" if of["searched"] is None else f"{of['searched']:.4f}"
        numbers = [Cell(searched), Cell(f"{of['mean']:.4f}"), Cell(reach)]
        yield [*first, Cell(measure(name).head), *numbers, Cell(standing)]
        first, standing = [Cell(""), Cell("")], ""


def counts(content: Content) -> str:
    """Count the points by state."""
    names = {"infeasible": "beyond the limits", "dominated": "stopped"}
    points = content.facts.status["points"].items()
    return definitions(((f"points {names.get(name, name)}", f"{count:,}") for name, count in points), "counts")


def provenance(content: Content) -> str:
    """List versions, hosts, seeds and fingerprints."""
    study, details = content.facts.study, content.details
    pairs = [
        ("seeds", ", ".join(map(str, study.seeds))),
        ("repeats", ", ".join(map(str, study.repeats))),
        *((f"images of the {name}", fingerprint) for name, fingerprint in content.images.items()),
        *((f"weights, {name}", fingerprint) for name, fingerprint in content.weights.items()),
        ("images answered", listed([f"{count:,} {part}" for part, count in content.facts.images.items()])),
        ("versions", ", ".join(sorted(details.versions))),
        ("hosts", ", ".join(sorted(details.hosts))),
        ("devices", ", ".join(sorted(details.devices))),
    ]
    return definitions(((term, text or "–") for term, text in pairs), "provenance")


def data(content: Content) -> dict[str, Any]:
    """Collect the data for the script of the page."""
    details, chosen, budget = content.details, content.facts.chosen, content.facts.study.budget
    figures = {
        "losses": charts.losses(details.losses),
        "traces": charts.traces(details.matrices, budget),
        "spectrum": charts.spectrum(details.matrices, budget),
        **{f"matrix-{index}": charts.heat_map(matrix) for index, matrix in enumerate(details.matrices)},
    }
    looks = charts.attackers(content.facts.study)
    return {
        "chosen": chosen["point"] if chosen else next(iter(content.fronts[0].members), None),
        "fronts": [{"note": front.note, "figure": front.figure} for front in content.fronts],
        "attackers": {name: {"knows": text, **looks[name]} for name, text in content.knows.items()},
        "charts": {name: figure for name, figure in figures.items() if figure["data"]},
        "points": {row.point.number: _panel(content, row) for row in content.rows},
    }


def _panel(content: Content, row: Row) -> dict[str, Any]:
    """Describe a point for its panel and for what hovers over its mark."""
    study = content.facts.study
    measures = [[_titled(name), _valued(row, name)] for name in MEASURES if name in row.test]
    bound = row.bound(study.attack)
    if bound is not None:
        measures.append([f"{measure(study.attack).label} when stopped, validation images", f"≥ {percent(bound)}"])
    elif row.validation:
        validated = measure(study.attack).shown(row.validation[study.attack])
        measures.append([f"{measure(study.attack).label}, validation images", validated])
    curves = content.details.clones.get(row.point.number, {})
    return {
        "title": f"Point {row.point.number}: {row.point.defense}",
        "parameters": parameters(row.point.params),
        "standing": f"{STANDING[row.state]}{': ' if row.note else ''}{row.note}",
        "measures": measures,
        "clones": {name: _valued(row, f"{ATTACKERS}{name}") for name in row.clones},
        "curves": {name: [round(100 * value, 2) for value in curve] for name, curve in curves.items()},
    }


def _valued(row: Row, name: str) -> str:
    """Show a measure with its 95 % interval and its range over seeds, where they are known."""
    of = measure(name)
    form = "{:.1f}" if of.unit else "{:.3f}"
    ranges = {"95 %": row.intervals.get(name), "seeds": row.spread.get(name)}
    known = [
        f"{what} {form.format(of.scale * ends[0])} – {form.format(of.scale * ends[1])}"
        for what, ends in ranges.items()
        if ends
    ]
    return of.shown(row.test[name]) + (f" ({'; '.join(known)})" if known else "")
