"""MODEL_CARD.md: what a file is, what it costs, which attackers it stops and which it does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emma_tune.attacks import attack_of, described
from emma_tune.defenses.around import GATE, TEMPERATURE, THEN, around_params
from emma_tune.outputs.export import formats
from emma_tune.outputs.export.defended_point import DefendedPoint
from emma_tune.outputs.export.latency import Latency
from emma_tune.outputs.export.matrix_code import matrix_code
from emma_tune.outputs.points import ONE_POINT, undefended_point
from emma_tune.outputs.report.sentences import victim
from emma_tune.outputs.words import parameter, parameters, percent, plural, second_step
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.intervals import wilson
from emma_tune.study.measures import MEASURES, OF_EVERY_STUDY, known_values

NOT_MEASURED = "not measured"
QUERIED = ("module", formats.PROGRAM, formats.ONNX)
SCORES = {"ece": "ECE of p', 15 bins, test images", "nll": "NLL of p', nats, test images"}
"""Scores of the answers that are no measures of a point, by the name of the metric."""


@dataclass(frozen=True)
class AttackerResult:
    """One attacker at one point; accuracies on test data, means over seeds, None where not measured.

    Attributes:
        name: in the study.
        kind: one of `ATTACKS`.
        targets: the kind whose targets it trains on.
        knows: what it is assumed to know or to have.
        asked: how many answers it asks at most; None if not known.
        clone: of its clone.
        undefended: of its clone without a defense.
        attacks: whether it can attack: one that needs a matrix cannot where there is none.
        bar: what its clone must come within a point of, or above, to beat the defense: its own clone without a
            defense; of an attacker that needs a matrix, and so has none, the worst one without a defense.
    """

    name: str
    kind: str
    targets: str
    knows: str
    asked: int | None
    clone: float | None
    undefended: float | None
    attacks: bool
    bar: float | None

    @property
    def beats(self) -> bool | None:
        """Whether it loses nothing to the defense; None where one of the two was not measured."""
        if self.clone is None or self.bar is None:
            return None
        return self.clone >= self.bar - ONE_POINT


@dataclass(frozen=True)
class Export:
    """What was written: names of files, the content of settings.json, and what the card describes."""

    files: list[str]
    settings: dict[str, Any]
    latencies: list[Latency]
    attackers: list[AttackerResult]
    measured: bool


def attackers_at(view: StudyView, point: Point) -> list[AttackerResult]:
    """List every attacker of the study with its result at a point."""
    here, without = view.figures(point), undefended_point(view)
    clones = here["test"]["attackers"] if here else {}
    before = without[1]["test"]["attackers"] if without else {}
    worst = without[1]["test"]["attacker_accuracy"] if without else None
    able = view.planner.attackers_of(point.defense)
    return [
        AttackerResult(
            name,
            attacker["kind"],
            attacker["targets"],
            attacker["knows"],
            attacker["asked"],
            clones.get(name),
            before.get(name),
            attacks=name in able,
            bar=before.get(name, worst),
        )
        for name, attacker in view.attackers().items()
    ]


def model_card(exported: DefendedPoint, export: Export, *, machine: str, threads: int) -> str:
    """Write the card of an export, in Markdown; latencies were measured on this machine with so many threads."""
    view, point = exported.view, exported.point
    without, able = undefended_point(view), [attacker for attacker in export.attackers if attacker.attacks]
    outcome, figures = view.outcomes.get(point.number), _figures(exported, without[0] if without else None)
    limits = ", ".join(f"{name} ≤ {most:g}" for name, most in view.study.limits.bounds.items())
    environment = Environment(
        loader=PackageLoader("emma_tune.outputs", "export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inline": inline, "percent": percent}
    return environment.get_template("MODEL_CARD.md.jinja").render(
        study=view.study,
        point=point,
        exported=exported,
        export=export,
        names=formats,
        victim=inline(victim(view.study)),
        input=export.settings["input"],
        agreement=export.settings["agreement"],
        largest=max(of for name, of in export.settings["agreement"].items() if name in QUERIED),
        params=parameters(point.params, "g"),
        around=_around(exported),
        matrix_code=matrix_code(point.params),
        stopped=outcome if outcome and outcome.bounds else None,
        runs=_runs(exported),
        undefended=without,
        beyond="" if not exported.measured or view.within_limits(point) else limits,
        figures=figures,
        figure_rows=_figure_rows(view, figures),
        able=able,
        beating=[inline(attacker.name) for attacker in able if attacker.beats],
        unknown=[inline(attacker.name) for attacker in able if attacker.beats is None],
        attacker_rows=map(_attacker_row, export.attackers),
        machine=machine,
        threads=plural(threads, "thread"),
        latency_columns=_latency_columns(exported),
        latency_rows=map(_latency_row, export.latencies),
    )


def _around(exported: DefendedPoint) -> list[str]:
    """Say where the defense acts, on how many answers, and what is done to what it releases; a sentence each."""
    params, metrics = exported.point.params, exported.artifacts["responses"].metrics
    found, given = [], around_params(params)
    if GATE.name in given:
        sure = "max p"
        if TEMPERATURE.name in given:
            power = parameter(given[TEMPERATURE.name], "g")
            sure = f"the largest of p^(1/{power}), divided by the sum of these,"
        own, pool = (percent(metrics[f"{part}.acts_on"]) for part in ("test", "queries"))
        found.append(
            f"It acts only where {sure} is below {parameter(given[GATE.name], 'g')}: on {own} of the test images "
            f"and {pool} of the query pool. Elsewhere p itself is released."
        )
    if THEN in given:
        step = second_step(params).removeprefix(f", {THEN} ")
        found.append(f"A second step follows everywhere: {step}.")
    return found


def _runs(exported: DefendedPoint) -> str:
    study = exported.view.study
    seeds = plural(len(study.seeds), "seed")
    return f"{seeds} × {len(study.repeats)} repeats" if len(study.repeats) > 1 else seeds


def _figures(exported: DefendedPoint, without: Point | None) -> dict[str, Mapping[str, float]]:
    """Collect measures of the exported victim, their means over several runs, and those without a defense."""
    view, point = exported.view, exported.point
    runs = list(view.planner.runs)
    return {
        f"this victim (seed {exported.seed})": _measured(view, point, [exported.run]),
        **({f"mean over {_runs(exported)}": _measured(view, point, runs)} if len(runs) > 1 else {}),
        "undefended": _measured(view, without, runs) if without else {},
    }


def _measured(view: StudyView, point: Point, runs: Sequence[int]) -> dict[str, float]:
    """Compute test measures of a point, means over runs; those that are not there are left out."""
    figures, plan = view.figures(point), view.planner.point(point)
    records = [view.record(plan.responses[run]) for run in runs]
    found = [record.metrics if record else {} for record in records]
    metrics = {name: of.metric.format(part="test") for name in OF_EVERY_STUDY if (of := MEASURES[name]).metric}
    metrics |= {name: f"test.{name}" for name in SCORES}
    measured = {
        name: fmean(metrics_of[metric] for metrics_of in found)
        for name, metric in metrics.items()
        if all(metric in metrics_of for metrics_of in found)
    }
    measured |= known_values(measured, view.study.measures)
    if figures:
        tests = [figures["runs"][str(run)]["test"] for run in runs]
        others = (*(name for name in OF_EVERY_STUDY if MEASURES[name].of_clones), *view.study.own_measures)
        measured |= {
            name: fmean(test[name] for test in tests) for name in others if all(name in test for test in tests)
        }
    return measured


def _figure_rows(view: StudyView, columns: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    measures = {name: view.study.measure(name) for name in view.study.measures}
    texts = {name: f"{of.label}, {of.images()}" for name, of in measures.items()} | SCORES
    return [
        [text, *(_shown(view, name, column.get(name)) for column in columns.values())]
        for name, text in texts.items()
    ]


def _shown(view: StudyView, name: str, value: float | None) -> str:
    """Show a value with its unit; a share with half of its 95 % interval on so many test images."""
    if value is None:
        return NOT_MEASURED
    if name in SCORES:
        return f"{value:.4f}"
    of, count = MEASURES[name], view.shapes.get("test", (0, 0))[0]
    if of.unit != "%" or of.pool or name not in OF_EVERY_STUDY or not count:
        return of.shown(value)
    low, high = wilson(value, count)
    return f"{100 * value:.1f} ± {50 * (high - low):.1f} %"


def _attacker_row(attacker: AttackerResult) -> list[str]:
    name, kind = inline(attacker.name), described(attacker.kind, attacker.targets)
    beats = {True: "yes", False: "no", None: NOT_MEASURED}[attacker.beats]
    return [
        name if attacker.name == kind else f"{name} ({kind})",
        attacker.knows,
        "–" if attacker.asked is None else f"{attacker.asked:,}",
        _accuracy(attacker.clone) if attacker.attacks else "–",
        "–" if attack_of(attacker.kind, attacker.targets).needs_matrix else _accuracy(attacker.undefended),
        beats if attacker.attacks else "no matrix to know",
    ]


def _latency_columns(exported: DefendedPoint) -> list[str]:
    if exported.onnx is not None:
        return ["batch", "victim alone, ONNX Runtime", f"with its defense, `{formats.ONNX}`"]
    victim = [] if exported.answers_alone else ["victim alone, PyTorch"]
    defended = "defense, PyTorch" if exported.answers_alone else "with its defense, PyTorch"
    return ["batch", *victim, defended, f"`{formats.PROGRAM}`", f"`{formats.ONNX}`"]


def _latency_row(row: Latency) -> list[str]:
    victim = [] if row.undefended is None else [row.undefended]
    seconds = (*victim, row.defended, *row.files.values())
    return [str(row.batch), *(f"{1000 * time:.2f} ms" for time in seconds)]


def _accuracy(share: float | None) -> str:
    return NOT_MEASURED if share is None else percent(share)


def inline(text: str) -> str:
    """Write a name in Markdown, where it can be no markup and break out of no table."""
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", " ".join(text.split()))
