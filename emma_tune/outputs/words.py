"""Phrases that page, pictures and terminal have in common: counts, lists, shares, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emma_tune.defenses.around import GATE, OF_SECOND_STEP, OF_STEPS, TEMPERATURE, THEN, around_params
from emma_tune.study.words import plural as plural


def percent(share: float) -> str:
    """Show 0.987 as 98.7 %."""
    return f"{100 * share:.1f} %"


def in_points(difference: float) -> str:
    """Show a difference of shares, 0.013, as 1.3 points."""
    return f"{100 * difference:.1f} points"


def point_counts(counts: Mapping[str, int]) -> str:
    """Say what became of the points: 6 points: 3 finished, 2 stopped early, 1 unfinished."""
    if not counts["asked"]:
        return "no points yet"
    beyond = f" ({counts['infeasible']} beyond the limits)" if counts["infeasible"] else ""
    states = {
        "dominated": "stopped early",
        "excluded": "stopped beyond the limits",
        "failed": "failed",
        "running": "running",
    }
    left = counts["asked"] - counts["finished"] - sum(counts.get(state, 0) for state in states)
    others = [(counts.get(state, 0), name) for state, name in states.items()] + [(left, "unfinished")]
    found = [f"{count} {name}" for count, name in others if count]
    return ", ".join([f"{plural(counts['asked'], 'point')}: {counts['finished']} finished{beyond}", *found])


def is_or_are(count: int) -> str:
    """Return the verb for a number of things."""
    return "is" if count == 1 else "are"


def listed(items: Sequence[str]) -> str:
    """Join items: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def numbered(numbers: Sequence[int], noun: str = "point") -> str:
    """Name things by their numbers: point 3, points 3, 5 and 8."""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {listed([str(number) for number in numbers])}"


def attacks_only(stop: str, attackers: int = 1) -> str:
    """Say which points attackers with `when: front` attack, by `search.stop`."""
    points = "with fixed parameters and the joint front" if stop == "joint" else "and points on a front"
    return f"attack{'s' if attackers == 1 else ''} only baselines {points}"


def confirmed_standing(point: Mapping[str, Any]) -> str:
    """Say whether a confirmation keeps a point, as `confirmed` describes it, on its front."""
    if not point["on_front"]:
        return "not on the front of the search"
    return "stays on the front" if point["still_on_front"] else f"leaves the front: {point['why']}"


def state_of(status: Mapping[str, Any]) -> str:
    """Say whether a study is running or finished, and how far, as `status_of` describes it."""
    return f"finished as far as {status['until']}" if status["until"] else str(status["state"])


def parameters(params: Mapping[str, Any], digits: str = ".4g") -> str:
    """List the parameters of a point: lambda 0.01, st_epoch 5 where max p < 0.8, then top_k 2."""
    own = ", ".join(f"{name} {parameter(value, digits)}" for name, value in ungated(params).items())
    return (" ".join(filter(None, [own, where(params)])) + second_step(params)).removeprefix(", ")


def ungated(params: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the parameters that `where` and `second_step` describe."""
    described = {GATE.name, TEMPERATURE.name} if GATE.name in params else set()
    described |= OF_SECOND_STEP if THEN in params else set()
    return {name: value for name, value in params.items() if name not in described}


def where(params: Mapping[str, Any]) -> str:
    """Say where a defense acts: where max p < 0.8; nothing if everywhere."""
    given = around_params(params)
    if GATE.name not in given:
        return ""
    at = f" at t {parameter(given[TEMPERATURE.name])}" if TEMPERATURE.name in given else ""
    return f"where max p{at} < {parameter(given[GATE.name])}"


def second_step(params: Mapping[str, Any]) -> str:
    """Say what follows a defense: , then top_k 2; nothing if nothing does."""
    if THEN not in params:
        return ""
    values = [str(params[THEN]), *(parameter(params[name]) for name in OF_STEPS if name in params)]
    return f", {THEN} {' '.join(values)}"


def parameter(value: float | str, digits: str = ".4g") -> str:
    """Show the value of a parameter: a number with these digits, or a word."""
    return value if isinstance(value, str) else f"{value:{digits}}"
