"""Confirmation: the chosen points repeated with fresh seeds, since chance helped to choose them.

A confirmation is a study of its own, in the folder `confirmation` of the one it confirms: the same victims and the
same points, with fresh seeds for all that follows the victim, and nothing proposed. It is resumed like any other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from statistics import fmean
from typing import Any

from emma_tune.plan import Planner, Point, run_seed
from emma_tune.results.figures import Figures, flat
from emma_tune.results.front import as_losses, dominating
from emma_tune.results.intervals import interval
from emma_tune.results.reader import StudyReader
from emma_tune.storage import Place
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.study.measures import MEASURES, measure


def confirmation_folder(folder: Place) -> Place:
    """Return the folder of the confirmation of a study."""
    return folder / "confirmation"


def confirmation_study(study: Study, repeats: int) -> Study:
    """Copy a study with this many fresh seeds, which the search has not seen, and nothing to search."""
    first = max(study.repeats) + 1
    return study.model_copy(
        update={
            "repeats": tuple(range(first, first + repeats)),
            "baselines": (),
            "search": study.search.model_copy(update={"stop": "none"}),
        }
    )


def points_to_confirm(view: StudyReader, numbers: Collection[int] | None) -> list[Point]:
    """List points of a study by their numbers; those of the fronts of the searched defenses if None.

    Raises:
        StudyError: if there is no such point, or none on a front.
    """
    if numbers is None:
        fronts = [point for name in view.study.searches for point, _ in view.members(defenses={name})]
        if not fronts:
            raise StudyError(f"{view.folder.root}: expected points on a front to confirm, found none")
        return fronts
    points = [view.point(number) for number in numbers]
    for point in points:
        if (state := view.state(point)) != "finished":
            raise StudyError(f"{view.folder.root}: expected a finished point, found point {point.number} {state}")
    return points


def confirmed(view: StudyReader, again: StudyReader) -> dict[str, Any]:
    """Compare the figures of points in the search with those under fresh seeds, of the study's confirmation.

    Returns:
        `study`, `repeats`, `objectives`, `counts`, and `points`, each with `point`, `defense`, `params`, `state`;
        once it is finished `measures`: by measure of the test part and as `attackers.NAME` the `searched` value
        (None of an attacker that has not attacked it in the search) and, over repeats (each the mean over seeds,
        as the searched value is), `mean`, `deviation`, `low`, `high` (95 %, within the measure's range; None of
        two repeats) and `count`; `on_front` of its defense in the search and `still_on_front`, among the points
        confirmed and by the mean of their validation figures; `why` where it has left.

    Raises:
        StudyError: if the images of the two are not the same, or the study has been edited since.
    """
    _check_confirms(view, again)
    points = list(again.ledger.points.values())
    defenses = {point.defense for point in points}
    searched = {point.number for name in defenses for point, _ in view.members(defenses={name})}
    members = {point.number for name in defenses for point, _ in again.members(defenses={name})}
    return {
        "study": view.study.name,
        "repeats": len(again.study.repeats),
        "objectives": dict(view.study.objectives),
        "counts": again.counts(),
        "points": [
            {
                "point": point.number,
                "defense": point.defense,
                "params": dict(point.params),
                "state": again.state(point),
                **_of_point(view, again, point, searched, members),
            }
            for point in sorted(points, key=lambda point: point.number)
        ],
    }


def _check_confirms(view: StudyReader, again: StudyReader) -> None:
    ours, theirs = view.planner.images, again.planner.images
    if any(ours.get(name) != theirs.get(name) for name in again.study.image_sets):
        raise StudyError(
            f"{again.folder.root}: expected the images that {view.folder.root} was run with, found others; run "
            "the study again first"
        )
    now = confirmation_study(view.study, len(again.study.repeats))
    planned = Planner(now, view.planner.images, view.planner.weights).front_digest
    judged = (now.limits, now.objectives)
    if planned != again.planner.front_digest or judged != (again.study.limits, again.study.objectives):
        raise StudyError(
            f"{again.folder.root}: expected a confirmation of the study as it is now, found one of an earlier "
            "form of it; confirm again"
        )


def _of_point(
    view: StudyReader, again: StudyReader, point: Point, searched: Collection[int], members: Collection[int]
) -> dict[str, Any]:
    before, after = view.figures(view.ledger.points[point.number]), again.figures(point)
    if before is None or after is None:
        return {}
    by_repeat = [_of_repeat(again, after, repeat) for repeat in again.study.repeats]
    known, measures = flat(before["test"]), {}
    ordered = dict.fromkeys((*MEASURES, *by_repeat[0]))
    for name in (name for name in ordered if name in by_repeat[0]):
        of = measure(name)
        over_repeats = interval([figures[name] for figures in by_repeat]).within(*sorted((of.best, of.worst)))
        measures[name] = {"searched": known.get(name), **asdict(over_repeats)}
    on_front, still = point.number in searched, point.number in members
    left = {"why": _why(again, point, after)} if on_front and not still else {}
    return {"measures": measures, "on_front": on_front, "still_on_front": still, **left}


def _of_repeat(again: StudyReader, figures: Figures, repeat: int) -> dict[str, float]:
    """Average the test figures of one repeat over the study's seeds."""
    runs = [flat(figures["runs"][str(run_seed(seed, repeat))]["test"]) for seed in again.study.seeds]
    return {name: fmean(run[name] for run in runs) for name in runs[0]}


def _why(again: StudyReader, point: Point, figures: Figures) -> str:
    """Say why a point is not on the front of the confirmed ones of its defense."""
    if not again.within_limits(point):
        return "beyond the limits"
    objectives = again.study.objectives
    members = again.members(defenses={point.defense})
    losses = as_losses([of["validation"] for _, of in members], objectives)
    (own,) = as_losses([figures["validation"]], objectives)
    beating = zip(members, dominating(losses, own), strict=True)
    numbers = sorted(point.number for (point, _), beats in beating if beats)
    return "beaten by " + ", ".join(f"point {number}" for number in numbers)
