"""Cautions about the numbers of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from emma_tune.defenses import DEFENSES, UNDEFENDED
from emma_tune.defenses.around import AROUND
from emma_tune.outputs.points import ONE_POINT
from emma_tune.outputs.report.summary import Summary
from emma_tune.outputs.words import is_or_are, listed, numbered, percent, plural, state_of
from emma_tune.plan import Point
from emma_tune.results.intervals import MIN_PAIRS
from emma_tune.study.search import Dimension, WholeChoice

EDGE = 0.01  # share of a range, on its own scale, that counts as its end


class Caution(NamedTuple):
    """A sentence or two on seeds, chance, and whatever else makes the numbers less certain, by kind."""

    kind: str
    text: str


def cautions_of(summary: Summary, points: list[Point]) -> list[Caution]:
    """List all cautions about a study with these points in its ledger."""
    return [
        *_seeds(summary),
        *_chance(summary),
        *_undone(summary),
        *_unchanged(summary),
        *_edges(summary),
        *_budgets(points),
        *_progress(summary),
        *_choice(summary),
        *(Caution("reading", problem) for problem in summary.status["problems"]),
    ]


def _seeds(summary: Summary) -> Iterator[Caution]:
    count = len(summary.study.seeds)
    if count < MIN_PAIRS:
        yield Caution(
            "seeds",
            f"{plural(count, 'seed')}: with fewer than {MIN_PAIRS}, a difference between two points may be "
            "chance.",
        )


def _chance(summary: Summary) -> Iterator[Caution]:
    if not summary.undefended or not summary.chance:
        return
    reached = summary.undefended["attacker_accuracy"]
    if reached <= max(1.5 * summary.chance, summary.chance + 0.05) + 1e-9:
        yield Caution(
            "chance",
            f"Even without a defense no clone gets far beyond guessing ({percent(reached)}, guessing "
            f"{percent(summary.chance)}): there is nothing to defend against, and no defense can show its worth.",
        )


def _undone(summary: Summary) -> Iterator[Caution]:
    """Find attackers that reach with the defense what the best one reaches without, or they themselves if more."""
    chosen, undefended = summary.chosen, summary.undefended
    if not chosen or not undefended or chosen["defense"] == UNDEFENDED:
        return
    worst = undefended["attacker_accuracy"]
    undoing: dict[str, list[str]] = {}
    for name, accuracy in chosen["attackers"].items():
        own = undefended["attackers"].get(name, worst)  # of the fronts' attackers some get more
        if accuracy >= max(worst, own) - ONE_POINT:
            clone = f"the clone of {name} without a defense" if own > worst else "the worst undefended clone"
            bar = f"{clone} ({percent(max(worst, own))})"
            undoing.setdefault(bar, []).append(f"{name} ({percent(accuracy)})")
    for bar, attackers in undoing.items():
        yield Caution(
            "undone",
            f"At the best point {listed(attackers)} {is_or_are(len(attackers))} within one point of {bar}, or "
            "above it: the defense is undone.",
        )


def _unchanged(summary: Summary) -> Iterator[Caution]:
    if summary.unchanged:
        releases = "releases" if len(summary.unchanged) == 1 else "release"
        points = numbered(summary.unchanged, "Point")
        yield Caution("unchanged", f"{points} {releases} the answers of the undefended victim: l1 is 0.")


def _edges(summary: Summary) -> Iterator[Caution]:
    """Find members of the front at an end of the search space: something better may lie beyond."""
    for defense, search in summary.study.searches.items():
        members = [point for point in summary.front if point.defense == defense]
        for name, dimension in search.space.items():
            for end, value in _ends(defense, name, dimension, summary):
                there = [point.number for point in members if _at(point.params.get(name), value, dimension)]
                if there:
                    yield Caution(
                        "edge",
                        f"Front {numbered(there)}: {name} of {defense} "
                        f"is at the {end} end of the search space ({value:g}), and better ones may lie beyond.",
                    )


def _ends(
    defense: str, name: str, dimension: Dimension | WholeChoice, summary: Summary
) -> Iterator[tuple[str, float]]:
    """List the ends of a dimension that could be moved; a fixed value has none."""
    low, high = dimension.bounds
    if low == high:
        return
    known = (*DEFENSES[summary.study.versioned(defense)].parameters, *AROUND)
    parameter = next(of for of in known if of.name == name)
    most = summary.study.defense.epochs - 1 if parameter.epochs else parameter.high
    if name == "rank" and summary.chance:
        most = round(1 / summary.chance)  # the number of classes
    if low > parameter.low:
        yield "lower", low
    if most is None or high < most:
        yield "upper", high


def _at(value: float | str | None, end: float, dimension: Dimension | WholeChoice) -> bool:
    """Say whether a point's value is at an end; a parameter that is no longer searched has no value."""
    if not isinstance(value, int | float):
        return False
    low, high = dimension.bounds
    if isinstance(dimension, Dimension) and dimension.log:
        if value <= 0:
            return False
        value, end, low, high = map(math.log, (value, end, low, high))
    return abs(value - end) <= EDGE * (high - low)


def _budgets(points: list[Point]) -> Iterator[Caution]:
    """Say whether defenses had unequal numbers of points; one without parameters does not count."""
    counts = Counter(point.defense for point in points)
    tuned = {name: of for name, of in counts.items() if DEFENSES[name].parameters}
    if len(set(tuned.values())) > 1:
        shown = ", ".join(f"{name} {of}" for name, of in sorted(tuned.items(), key=lambda item: -item[1]))
        yield Caution(
            "budgets", f"Unequal tuning budgets, in points: {shown}. A defense with more points had more chances."
        )


def _progress(summary: Summary) -> Iterator[Caution]:
    counts, state = summary.status["points"], summary.status["state"]
    for first in summary.status["failures"][:1]:
        yield Caution(
            "failed",
            f"{plural(counts['failed'], 'point')} failed and {is_or_are(counts['failed'])} missing "
            f"here; point {first['point']}: {first['reason']}",
        )
    open_points = counts["asked"] - counts["finished"] - counts["stopped"] - counts["failed"]
    if state != "finished" and (open_points or not counts["asked"] or state == "running"):
        yield Caution(
            "unfinished",
            f"The study is {state_of(summary.status)}: {open_points} of {plural(counts['asked'], 'point')} so far "
            f"{is_or_are(open_points)} not finished. All of this page may change.",
        )


def _choice(summary: Summary) -> Iterator[Caution]:
    """Say what makes the choice of the best point uncertain."""
    stopped = summary.best["stopped"]
    if stopped:
        yield Caution(
            "stopped",
            f"{plural(len(stopped), 'point')} ({listed([str(number) for number in stopped])}) that stopped early "
            "might be better than the best; search.stop: none runs them to their end.",
        )
    for name, over in (summary.chosen or {"broken": {}})["broken"].items():
        yield Caution(
            "broken",
            f"On test images the best point exceeds the limit of {name} by {over:.3f}; it was chosen by "
            "validation images.",
        )
