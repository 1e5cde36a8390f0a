"""The content of a report: all that is read of a study for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import yaml

from emma_tune.defenses import CONTROLS, LEARNED
from emma_tune.outputs.points import JOINT, PointRow, attack_of, fronts_of, point_rows, undefended_clone
from emma_tune.outputs.report.cautions import Caution, cautions_of
from emma_tune.outputs.report.front_chart import GUESSING, NO_DEFENSE, Figure, front_chart
from emma_tune.outputs.report.records import Records, records_of
from emma_tune.outputs.report.summary import Summary, summary_of
from emma_tune.outputs.words import attacks_only, is_or_are, listed, plural
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.comparison import spread
from emma_tune.results.confirmation import confirmation_folder, confirmed
from emma_tune.results.figures import against
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
    figure: Figure

    @property
    def numbers(self) -> set[int]:
        """Numbers of the points on any of them."""
        return {number for numbers in (self.members, *self.own.values()) for number in numbers}


class Cost(NamedTuple):
    """The cost of a stage.

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
        summary: what question, answer and cautions are about.
        fronts: against the worst clone, then against each attacker.
        records: curves, matrices, and the machines they come from.
        costs: by stage.
        confirmation: `confirmation.confirmed`; None without one.
    """

    view: StudyView
    summary: Summary
    cautions: list[Caution]
    rows: list[PointRow]
    fronts: list[Front]
    records: Records
    costs: dict[str, Cost]
    confirmation: Mapping[str, Any] | None

    @property
    def study_file(self) -> str:
        """The study file with every default filled in; it can be run."""
        complete = self.view.study.model_dump(mode="json", by_alias=True)
        return yaml.safe_dump(complete, sort_keys=False, allow_unicode=True, width=100)


def content_of(view: StudyView) -> Content:
    """Read a study for a report; nothing is written."""
    summary, rows = summary_of(view), point_rows(view)
    fronts = [_front(view, summary, rows, attacker) for attacker in (None, *view.study.attackers)]
    with_matrix = _with_matrix(view.study.budget, rows, fronts[0])
    records = records_of(view, _by_interest(summary, rows, fronts), with_matrix)
    costs, confirmation = _costs(view, summary), _confirmation(view)
    summary = replace(summary, status={**summary.status, "problems": view.problems})  # reading has noted some
    cautions = cautions_of(summary, [row.point for row in rows])
    return Content(view, summary, cautions, rows, fronts, records, costs, confirmation)


def _front(view: StudyView, summary: Summary, rows: Sequence[PointRow], attacker: str | None) -> Front:
    fronts, up = fronts_of(view, attacker), attack_of(view.study, attacker)
    own = {name: numbers for name, numbers in fronts.items() if name != JOINT}
    levels = {NO_DEFENSE: undefended_clone(view, attacker), GUESSING: summary.chance}
    figure = front_chart(view.study, rows, fronts, up, levels)
    return Front(attacker, fronts[JOINT], own, _note(view, fronts[JOINT], own, attacker), figure)


def _note(view: StudyView, members: Sequence[int], own: Mapping[str, Sequence[int]], attacker: str | None) -> str:
    """Say how many points are on the fronts, and what the joint one is worth.

    A hypervolume has as many digits as its seeds or images support.
    """
    if attacker is not None and not view.study.attackers[attacker].counts:
        return f"{attacker} has no part in choosing the fronts; it {attacks_only(view.study.search.stop)}."
    finished = plural(view.counts()["finished"], "finished point")
    alone = listed([f"{len(numbers)} on that of {name} alone" for name, numbers in own.items()])
    counts = f"{len(members)} of {finished} {is_or_are(len(members))} on the joint front, {alone}. "
    objectives = view.study.against(attacker).objectives
    known = [view.figures(view.ledger.points[number]) for number in members]
    shown = [of["test"] for figures in known if figures and (of := against(figures, attacker))]
    by_seed = [f"{volume:.2f}" for volume in spread(view, attacker=attacker)["hypervolume_by_seed"].values()]
    each = f"; of each seed alone {', '.join(by_seed)}" if len(by_seed) > 1 else ""
    goals = ", ".join(f"{measure(name).head} {direction}" for name, direction in objectives.items())
    return f"{counts}Hypervolume of the joint front ({goals}) {hypervolume(shown, objectives):.2f}{each}."


def _by_interest(summary: Summary, rows: Sequence[PointRow], fronts: Sequence[Front]) -> list[Point]:
    """Order points whose learning curves can be shown: the best one, those on a front, then the others."""
    chosen = {summary.chosen["point"]} if summary.chosen else set()
    on_some = {number for front in fronts for number in front.numbers}
    known = [row.point for row in rows if row.state in ("front", "finished", "beyond", "unfinished")]
    return sorted(known, key=lambda point: (point.number not in chosen, point.number not in on_some, point.number))


def _with_matrix(cost: str, rows: Sequence[PointRow], front: Front) -> list[PointRow]:
    """Order points whose matrix can be shown.

    First those on a front, then the other finished ones that were learned; of each control one more, the nearest
    in budget to the first of these; then stopped ones.
    """
    kept = [row for row in rows if row.test and row.state not in ("beyond", "excluded")]
    learned = [row for row in kept if row.point.defense in LEARNED]
    finished = [row for row in learned if not row.stopped]
    controls = [row for row in rows if row.state in ("front", "finished") and row.point.defense in CONTROLS]
    on_front = [row for row in (*finished, *controls) if row.point.number in front.numbers]
    others = [row for row in finished if row not in on_front]
    budget = (*on_front, *others)[0].test[cost] if on_front or others else 0.0
    far_first = sorted(controls, key=lambda row: -abs(row.test[cost] - budget))
    nearest = {row.point.defense: row for row in far_first}  # the last one of each stays
    stopped = [row for row in learned if row.stopped]
    return [*on_front, *others, *(row for row in nearest.values() if row not in on_front), *stopped]


def _costs(view: StudyView, summary: Summary) -> dict[str, Cost]:
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
            seconds=summary.status["seconds"][stage],
            uses=uses[stage],
            spared=used[stage] - once[stage],
        )
        for stage, tasks in summary.status["tasks"].items()
        if tasks["done"]
    }


def _confirmation(view: StudyView) -> dict[str, Any] | None:
    folder = confirmation_folder(view.folder.root)
    if not (folder.is_dir() if is_local(folder) else StudyFolder(folder).begun):
        return None
    try:
        again = StudyView(folder)
        content = confirmed(view, again)
        for problem in again.problems:
            view.note(problem)
        return content
    except StudyError as error:
        view.note(f"the confirmation is not shown: {error}")
        return None
