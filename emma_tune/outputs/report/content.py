"""The content of a report as plain data: everything on the page comes from here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from emma_tune.defenses import CONTROLS, LEARNED
from emma_tune.outputs.report import charts
from emma_tune.outputs.report.answer import answer, knowledge, question
from emma_tune.outputs.report.details import Details, details_of
from emma_tune.outputs.report.facts import NOTHING, Facts, facts_of
from emma_tune.outputs.report.rows import JOINT, Row, attack_of, fronts_of, rows_of
from emma_tune.outputs.report.warnings import Caution, warnings_of
from emma_tune.outputs.words import is_or_are, listed, plural
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.comparison import spread
from emma_tune.results.confirmation import confirmation_folder, confirmed
from emma_tune.results.folder import StudyFolder
from emma_tune.results.front import hypervolume
from emma_tune.stages import STAGES
from emma_tune.storage import is_local
from emma_tune.study.file import StudyError
from emma_tune.study.measures import measure


class Front(NamedTuple):
    """The fronts against an attacker.

    Attributes:
        attacker: to defend against; None for the worst clone of all.
        members: numbers of the points on the joint front.
        own: numbers of the points on each searched defense's own front.
        note: how many they are, and their hypervolume.
        figure: its chart.
    """

    attacker: str | None
    members: list[int]
    own: dict[str, list[int]]
    note: str
    figure: charts.Figure

    @property
    def numbers(self) -> set[int]:
        """Numbers of the points on any of them."""
        return {number for numbers in (self.members, *self.own.values()) for number in numbers}


class Cost(NamedTuple):
    """What a stage cost.

    Attributes:
        done: finished tasks.
        reused: of these, made by another run than the last, of this or another study.
        seconds: that they took.
        uses: how often a concluded point needed one of them.
        spared: seconds that repeating each for every point would have taken.
    """

    done: int
    reused: int
    seconds: float
    uses: int
    spared: float


@dataclass(frozen=True)
class Content:
    """A report.

    Attributes:
        facts: what question, answer and warnings are about.
        written: seconds since 1970.
        question, answer: sentences.
        warnings: the cautions beside them.
        knows: what each attacker knows, by name.
        rows: the points.
        fronts: against the worst clone, then against each attacker.
        details: curves, matrices, and the machines they come from.
        costs: by stage.
        confirmation: `confirmation.confirmed`; None without one.
        study_file: the complete study, as YAML.
        images, weights: fingerprints, by name.
    """

    facts: Facts
    written: float
    question: list[str]
    answer: list[str]
    warnings: list[Caution]
    knows: dict[str, str]
    rows: list[Row]
    fronts: list[Front]
    details: Details
    costs: dict[str, Cost]
    confirmation: Mapping[str, Any] | None
    study_file: str
    images: Mapping[str, str]
    weights: Mapping[str, str]


def content_of(view: StudyView) -> Content:
    """Read a study for a report; nothing is written."""
    facts, rows = facts_of(view), rows_of(view)
    fronts = [_front(view, facts, rows, attacker) for attacker in (None, *view.study.attackers)]
    with_matrix = _with_matrix(view.study.budget, rows, fronts[0])
    details = details_of(view, _by_interest(facts, rows, fronts), with_matrix)
    confirmation = _confirmation(view)
    return Content(
        facts=facts,
        written=time.time(),
        question=question(facts),
        answer=answer(facts),
        warnings=warnings_of(facts, [row.point for row in rows]),  # last: reading notes problems
        knows=knowledge(facts),
        rows=rows,
        fronts=fronts,
        details=details,
        costs=_costs(view, facts),
        confirmation=confirmation,
        study_file=_study_file(view),
        images=view.planner.images,
        weights=view.planner.weights,
    )


def _front(view: StudyView, facts: Facts, rows: Sequence[Row], attacker: str | None) -> Front:
    own = fronts_of(view, attacker)
    members = own.pop(JOINT)
    up = attack_of(view.study, attacker)
    undefended = next((row.test.get(up) for row in rows if row.point.defense == NOTHING and up in row.test), None)
    finished = facts.status["points"]["finished"]
    note = (
        f"{len(members)} of {plural(finished, 'finished point')} {is_or_are(len(members))} on the "
        f"joint front, {listed([f'{len(numbers)} on that of {name} alone' for name, numbers in own.items()])}. "
    )
    if attacker is None or view.study.attackers[attacker].counts:
        note += _volumes(view, attacker)
    else:
        note += f"{attacker} has no part in choosing them; it attacks only baselines and points on a front."
    figure = charts.front(view.study, rows, members, own, attack=up, undefended=undefended, chance=facts.chance)
    return Front(attacker, members, own, note, figure)


def _volumes(view: StudyView, attacker: str | None) -> str:
    """Say what the joint front is worth, with as many digits as its seeds or images support."""
    of = view.study.against(attacker).objectives
    whole = hypervolume([figures["test"] for _, figures in view.members(attacker=attacker)], of)
    volumes = spread(view, attacker=attacker)["hypervolume_by_seed"]
    by_seed = [f"{volume:.2f}" for volume in volumes.values()]
    alone = f"; of each seed alone {', '.join(by_seed)}" if len(by_seed) > 1 else ""
    goals = ", ".join(f"{measure(name).head} {direction}" for name, direction in of.items())
    return f"Hypervolume of the joint front ({goals}) {whole:.2f}{alone}."


def _by_interest(facts: Facts, rows: Sequence[Row], fronts: Sequence[Front]) -> list[Point]:
    """Order points whose learning curves can be shown: the best one, those on a front, then the others."""
    chosen = {facts.chosen["point"]} if facts.chosen else set()
    on_some = {number for front in fronts for number in front.numbers}
    known = [row.point for row in rows if row.state in ("front", "finished", "beyond", "unfinished")]
    return sorted(known, key=lambda point: (point.number not in chosen, point.number not in on_some, point.number))


def _with_matrix(cost: str, rows: Sequence[Row], front: Front) -> list[Row]:
    """Order points whose matrix can be shown.

    First those on a front, then EMMA's other finished ones; of each control one more, the nearest in budget to the
    first of these; then EMMA's stopped ones.
    """
    learned = [row for row in rows if row.point.defense in LEARNED and row.test and row.state != "beyond"]
    finished = [row for row in learned if row.state != "dominated"]
    controls = [row for row in rows if row.state in ("front", "finished") and row.point.defense in CONTROLS]
    on_front = [row for row in (*finished, *controls) if row.point.number in front.numbers]
    others = [row for row in finished if row not in on_front]
    budget = (*on_front, *others)[0].test[cost] if on_front or others else 0.0
    far_first = sorted(controls, key=lambda row: -abs(row.test[cost] - budget))
    nearest = {row.point.defense: row for row in far_first}  # the last one of each stays
    stopped = [row for row in learned if row.state == "dominated"]
    return [*on_front, *others, *(row for row in nearest.values() if row not in on_front), *stopped]


def _costs(view: StudyView, facts: Facts) -> dict[str, Cost]:
    uses, used, once = dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)
    seen: set[str] = set()
    for outcome in view.outcomes.values():
        for key, task in outcome.tasks.items():
            uses[task.stage] += 1
            used[task.stage] += task.seconds
            once[task.stage] += 0.0 if key in seen else task.seconds
            seen.add(key)
    return {
        stage: Cost(
            done=tasks["done"],
            reused=tasks["reused"],
            seconds=facts.status["seconds"][stage],
            uses=uses[stage],
            spared=used[stage] - once[stage],
        )
        for stage, tasks in facts.status["tasks"].items()
        if tasks["done"]
    }


def _confirmation(view: StudyView) -> dict[str, Any] | None:
    folder = confirmation_folder(view.folder.root)
    if not (folder.is_dir() if is_local(folder) else StudyFolder(folder).begun):
        return None
    try:
        again = StudyView(folder)
        content = confirmed(view, again)
        view.problems.extend(again.problems)
        return content
    except StudyError as error:
        view.problems.append(f"the confirmation is not shown: {error}")
        return None


def _study_file(view: StudyView) -> str:
    """Write the study file with every default filled in; it can be run."""
    complete = view.study.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(complete, sort_keys=False, allow_unicode=True, width=100)
