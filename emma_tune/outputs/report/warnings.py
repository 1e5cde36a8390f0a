"""Cautions about the numbers of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from emma_tune.defenses import DEFENSES
from emma_tune.outputs.report.facts import NOTHING, ONE_POINT, Facts
from emma_tune.outputs.words import is_or_are, listed, numbered, percent, plural
from emma_tune.plan import Point
from emma_tune.results.intervals import MIN_PAIRS
from emma_tune.study import Study
from emma_tune.study.search import Dimension, EpochChoice

EDGE = 0.01
"""Share of a range, on its own scale, that counts as its end."""


class Caution(NamedTuple):
    """A caution.

    Attributes:
        kind: one of seeds, edge, undone, chance, failed, budgets, unfinished, stopped, broken, reading.
        text: a sentence or two.
    """

    kind: str
    text: str


def warnings_of(facts: Facts, asked: list[Point]) -> list[Caution]:
    """List all cautions.

    Args:
        facts: of the study.
        asked: all points of its ledger.
    """
    return [
        *_seeds(facts),
        *_chance(facts),
        *_undone(facts),
        *_edges(facts),
        *_budgets(asked),
        *_progress(facts),
        *_choice(facts),
        *(Caution("reading", problem) for problem in facts.status["problems"]),
    ]


def _seeds(facts: Facts) -> Iterator[Caution]:
    count = len(facts.study.seeds)
    if count < MIN_PAIRS:
        yield Caution(
            "seeds",
            f"{plural(count, 'seed')}: below {MIN_PAIRS}, a difference between two points may be chance.",
        )


def _chance(facts: Facts) -> Iterator[Caution]:
    if not facts.undefended or not facts.chance:
        return
    reached = facts.undefended["attacker_accuracy"]
    if reached <= max(1.5 * facts.chance, facts.chance + 0.05) + 1e-9:
        yield Caution(
            "chance",
            f"Even without a defense no clone gets far beyond guessing ({percent(reached)}, guessing "
            f"{percent(facts.chance)}): there is nothing to defend against, and no defense can show its worth.",
        )


def _undone(facts: Facts) -> Iterator[Caution]:
    """Find attackers that reach with the defense what the best one reaches without."""
    chosen, undefended = facts.chosen, facts.undefended
    if not chosen or not undefended or chosen["defense"] == NOTHING:
        return
    least = undefended["attacker_accuracy"] - ONE_POINT - 1e-9
    attackers = [name for name, accuracy in chosen["attackers"].items() if accuracy >= least]
    if attackers:
        shown = listed([f"{name} ({percent(chosen['attackers'][name])})" for name in attackers])
        yield Caution(
            "undone",
            f"At the best point {shown} {is_or_are(len(attackers))} within one point of the worst "
            f"undefended clone ({percent(undefended['attacker_accuracy'])}): the defense is undone.",
        )


def _edges(facts: Facts) -> Iterator[Caution]:
    """Find members of the front at an end of the search space: something better may lie beyond."""
    for defense, sought in facts.study.sought.items():
        members = [point for point in facts.front if point.defense == defense]
        for name, dimension in sought.space.items():
            for end, value in _ends(defense, name, dimension, facts.study):
                there = [point.number for point in members if _at(point.params.get(name), value, dimension)]
                if there:
                    yield Caution(
                        "edge",
                        f"Front {numbered(there)}: {name} of {defense} "
                        f"is at the {end} end of the search space ({value:g}), and better ones may lie beyond.",
                    )


def _ends(
    defense: str, name: str, dimension: Dimension | EpochChoice, study: Study
) -> Iterator[tuple[str, float]]:
    """List the ends of a dimension that could be moved; a fixed value has none."""
    low, high = _bounds(dimension)
    if low == high:
        return
    parameter = next(of for of in DEFENSES[defense].parameters if of.name == name)
    least, most = parameter.low, parameter.high
    if parameter.epochs:
        most = study.defense.epochs - 1
    if low > least:
        yield "lower", low
    if most is None or high < most:
        yield "upper", high


def _bounds(dimension: Dimension | EpochChoice) -> tuple[float, float]:
    if isinstance(dimension, Dimension):
        return dimension.bounds
    return min(dimension.grid()), max(dimension.grid())


def _at(value: float | None, end: float, dimension: Dimension | EpochChoice) -> bool:
    """Say whether a point's value is at an end; a parameter that is no longer searched has no value."""
    if value is None:
        return False
    low, high = _bounds(dimension)
    if isinstance(dimension, Dimension) and dimension.log:
        if value <= 0:
            return False
        value, end, low, high = (math.log(x) for x in (value, end, low, high))
    return abs(value - end) <= EDGE * (high - low)


def _budgets(asked: list[Point]) -> Iterator[Caution]:
    """Say whether defenses had unequal numbers of points; one without parameters does not count."""
    counts = Counter(point.defense for point in asked)
    tuned = {name: of for name, of in counts.items() if DEFENSES[name].parameters}
    if len(set(tuned.values())) > 1:
        shown = ", ".join(f"{name} {of}" for name, of in sorted(tuned.items(), key=lambda item: -item[1]))
        yield Caution(
            "budgets",
            f"Unequal tuning budgets, in points: {shown}. A defense with more points had more chances.",
        )


def _progress(facts: Facts) -> Iterator[Caution]:
    counts, state = facts.status["points"], facts.status["state"]
    failures = facts.status["failures"]
    if failures:
        first = failures[0]
        yield Caution(
            "failed",
            f"{plural(counts['failed'], 'point')} failed and {is_or_are(counts['failed'])} missing "
            f"here; point {first['point']}: {first['reason']}",
        )
    open_points = counts["asked"] - counts["finished"] - counts["dominated"] - counts["failed"]
    if state != "finished" and (open_points or not counts["asked"] or state == "running"):
        yield Caution(
            "unfinished",
            f"The study is {state}: {open_points} of {plural(counts['asked'], 'point')} so far "
            f"{is_or_are(open_points)} not finished. All of this page may change.",
        )


def _choice(facts: Facts) -> Iterator[Caution]:
    """Say what makes the choice of the best point uncertain."""
    stopped = facts.best["stopped"]
    if stopped:
        yield Caution(
            "stopped",
            f"{plural(len(stopped), 'point')} ({listed([str(number) for number in stopped])}) that stopped early "
            "might be better than the best; search.stop: none runs them to their end.",
        )
    for name, over in (facts.chosen or {"broken": {}})["broken"].items():
        yield Caution(
            "broken",
            f"On test images the best point exceeds the limit of {name} by {over:.3f}; it was chosen by "
            "validation images.",
        )
