"""The two tables of a card: what a point costs and buys, and its thieves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

from emma_tune.attacks import ATTACKS
from emma_tune.outputs.export.subject import Subject
from emma_tune.outputs.export.thieves import CLOSE, Thief, thieves_at, undefended
from emma_tune.outputs.words import percent, plural
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.intervals import wilson
from emma_tune.study.measures import MEASURES

NOT_MEASURED = "not measured"
SCORES = {"ece": "ECE of p', 15 bins, test images", "nll": "NLL of p', nats, test images"}
"""Scores of the answers that are no measures of a point, by the name of the metric."""


def figures_section(subject: Subject) -> list[str]:
    """Measures of the exported victim, their means, and those without a defense."""
    view, without = subject.view, undefended(subject.view)
    runs = len(view.planner.runs)
    columns = {
        f"this victim (seed {subject.seed})": _measured(subject, subject.point, [subject.run]),
        f"mean over {_runs(subject)}": _measured(subject, subject.point, list(view.planner.runs)),
        "undefended": _measured(subject, without[0], list(view.planner.runs)) if without else {},
    }
    if runs == 1:
        del columns[f"mean over {_runs(subject)}"]
    texts = {name: f"{of.label}, {of.images()}" for name, of in MEASURES.items()} | SCORES
    rows = [
        [text, *(_shown(view, name, column.get(name)) for column in columns.values())]
        for name, text in texts.items()
    ]
    without_text = "" if without else " The study has no finished point without a defense."
    return [
        "## What it costs, and what it buys",
        "",
        f"On the test part of {inline(view.study.victim.dataset)}, over {_runs(subject)}; nothing was chosen on "
        f"it. Undefended: the same victims without a defense.{without_text}{_beyond(subject)}",
        "",
        *table(["measure", *columns], rows),
    ]


def _beyond(subject: Subject) -> str:
    """That a point would not be deployed by the study's own limits."""
    view = subject.view
    if view.figures(subject.point) is None or view.within_limits(subject.point):
        return ""
    limits = ", ".join(f"{name} ≤ {most:g}" for name, most in view.study.limits.bounds.items())
    return f" **By its validation figures this point is beyond the limits of the study: {limits}.**"


def _runs(subject: Subject) -> str:
    study = subject.view.study
    seeds = plural(len(study.seeds), "seed")
    return f"{seeds} × {len(study.repeats)} repeats" if len(study.repeats) > 1 else seeds


def _measured(subject: Subject, point: Point, runs: Sequence[int]) -> dict[str, float]:
    """Test measures of a point, means over runs; those that are not there are left out."""
    view = subject.view
    figures, plan = view.figures(point), view.planner.point(point)
    records = [record for run in runs if (record := view.record(plan.responses[run]))]
    metrics = {name: of.metric.format(part="test") for name, of in MEASURES.items() if of.metric}
    metrics |= {name: f"test.{name}" for name in SCORES}
    measured = {}
    if len(records) == len(runs):
        for name, metric in metrics.items():
            values = [record.metrics[metric] for record in records if metric in record.metrics]
            if len(values) == len(runs):
                measured[name] = fmean(values)
    if figures:
        measured["attacker_accuracy"] = fmean(
            figures["runs"][str(run)]["test"]["attacker_accuracy"] for run in runs
        )
    return measured


def thieves_section(subject: Subject) -> list[str]:
    """Every thief of the study, and who beats the defence."""
    thieves = thieves_at(subject.view, subject.point)
    rows = [
        [
            inline(thief.name) if thief.name == thief.kind else f"{inline(thief.name)} ({thief.kind})",
            thief.knows,
            _percent(thief.clone) if thief.attacks else "–",
            "–" if ATTACKS[thief.kind].needs_matrix else _percent(thief.undefended),
            _verdict(thief),
        ]
        for thief in thieves
    ]
    return [
        "## Attackers",
        "",
        f"{_beaten([thief for thief in thieves if thief.attacks])} An attacker beats the defense if its clone is "
        f"within {100 * CLOSE:.0f} point of, or above, the same attacker's clone of the undefended victim; one "
        "that needs the matrix T, and so has no such clone, if it is that close to the worst clone of the "
        f"undefended victim. Test accuracy of the clone's best epoch, mean over {_runs(subject)}.",
        "",
        *table(["attacker", "knows", "clone", "clone, undefended", "beats it"], rows),
    ]


def _verdict(thief: Thief) -> str:
    if not thief.attacks:
        return "no matrix to know"
    return {True: "yes", False: "no", None: NOT_MEASURED}[thief.beats]


def _beaten(thieves: Sequence[Thief]) -> str:
    beating = [inline(thief.name) for thief in thieves if thief.beats]
    unknown = [inline(thief.name) for thief in thieves if thief.beats is None]
    if not thieves or len(unknown) == len(thieves):
        return f"**Which attackers beat this defense was {NOT_MEASURED}.**"
    rest = f" Not measured: {', '.join(unknown)}." if unknown else ""
    if not beating:
        return f"**None of the study's attackers beats this defense.**{rest}"
    return f"**Attackers that beat this defense: {', '.join(beating)}.**{rest}"


def inline(text: str) -> str:
    """A name in Markdown, where it can be no markup and break out of no table."""
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", " ".join(text.split()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _shown(view: StudyView, name: str, value: float | None) -> str:
    """A value with its unit; a share with half of its 95 % interval on so many test images."""
    if value is None:
        return NOT_MEASURED
    if name in SCORES:
        return f"{value:.4f}"
    of, count = MEASURES[name], view.shapes.get("test", (0, 0))[0]
    if of.unit != "%" or not count:
        return of.shown(value)
    low, high = wilson(value, count)
    return f"{100 * value:.1f} ± {50 * (high - low):.1f} %"


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else percent(share)
