"""Say that a study's trainings in bf16 are slow, where, by how much, and what to type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from emma_tune.plan.materials.networks import trainings
from emma_tune.search.trial_shares import Capacity
from emma_tune.study import Study
from emma_tune.tuning.precision.cost import SLOWER, bf16_factor


class SlowBf16(NamedTuple):
    """Trainings that would be faster in fp32."""

    factor: float  # by which, at most
    line: str
    stages: frozenset[str]  # of these trainings


def here() -> dict[str, float | None]:
    """Return the factor of this machine's CPU, by a name for people."""
    return {"this CPU": bf16_factor()}


def slow_bf16(
    study: Study, capacity: Capacity, factors: Callable[[], Mapping[str, float | None]] = here
) -> SlowBf16 | None:
    """Return the remark on trainings in bf16, if there are any on CPUs, and they are slow there.

    Args:
        study: whose trainings they are.
        capacity: tells which stages have no GPU.
        factors: is called only if some train in bf16; returns how many times as long as fp32 it takes, by the name
            of the CPU, and None where that is not known.
    """
    places = _trained_in_bf16(study, capacity)
    slow = {name: of for name, of in factors().items() if of is not None and of >= SLOWER} if places else {}
    if not slow:
        return None
    typed = " ".join(f"--set {place}.precision=fp32" for place in _to_change(study, places))
    factor = max(slow.values())
    line = f"bf16 takes {factor:.2g} times as long as fp32 on {', '.join(slow)}"
    told = f"{line}; to train in fp32, with results of its own: {typed}"
    return SlowBf16(factor, told, frozenset(map(_stage, places)))


def _trained_in_bf16(study: Study, capacity: Capacity) -> list[str]:
    """List the fields of the trainings that run in bf16 on CPUs, such as `attackers.soft`."""
    precisions = {place: part.precision for place, part in trainings(study).items()}
    precisions["defense"] = study.defense.precision or study.surrogate.precision
    return [
        place
        for place, precision in precisions.items()
        if precision == "bf16" and capacity.shares[_stage(place)]["gpu"] == 0
    ]


def _stage(place: str) -> str:
    return {"defense": "matrix"}.get(place) or ("attacker" if place.startswith("attackers.") else place)


def _to_change(study: Study, places: list[str]) -> list[str]:
    """List the fields to change: all of them, as a study does not tell which were inherited."""
    follows = study.defense.precision is None and "surrogate" in places
    return [place for place in places if place != "defense" or not follows]
