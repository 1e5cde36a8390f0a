"""What can stand around any defense: a gate, and a second step.

Behind a gate a defense acts only where the victim is not sure of its answer; elsewhere p is released. A second
step (`then`) is another defense, applied to what the first one releases. Both are parameters of a point beside
those of the defense; at values that change nothing they are in no recipe.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from emma_tune.defenses.parameter import Parameter

Value = TypeVar("Value")

GATE = Parameter(
    "gate",
    low=0,
    high=1,
    identity=0,
    optional=True,
    about="τ in [0, 1]: the defense acts only where the victim's confidence is below it; 1: everywhere",
)
TEMPERATURE = Parameter(
    "gate_temperature",
    low=0,
    high=None,
    above=True,
    optional=True,
    about="t > 0: the gate's confidence is the largest of p^(1/t), renormalized; 1: max p",
)
CLASSES = Parameter("k", low=1, high=None, grid=(2, 3, 5), whole=True, counts_classes=True)
DECIMALS = Parameter("decimals", low=0, high=6, grid=(0, 1, 2), whole=True)

THEN = "then"
STEPS: dict[str, Parameter | None] = {"argmax": None, "top_k": CLASSES, "rounding": DECIMALS}
"""Defenses that can be the second step, with their parameter: functions of one answer, without chance."""

OF_STEPS = {
    f"{THEN}_{of.name}": replace(
        of, name=f"{THEN}_{of.name}", grid=(), optional=True, about=f"{of.name} of {step} as the second step"
    )
    for step, of in STEPS.items()
    if of
}
"""Parameters of the second step, by their names in a study."""

AROUND = (GATE, TEMPERATURE, *OF_STEPS.values())
"""The numbers among the parameters of gate and second step."""

NAMES = frozenset({THEN, *(of.name for of in AROUND)})
"""Names that no defense can have for parameters of its own."""

OF_SECOND_STEP = frozenset({THEN, *OF_STEPS})
"""Names of the second step, of which a matrix knows nothing when it is learned."""

NEUTRAL = {GATE.name: 1, TEMPERATURE.name: 1}
"""Values that are as if nothing were given."""


def is_neutral(name: str, value: float | None) -> bool:
    """Tell whether a value is as if it were not given."""
    return name in NEUTRAL and value == NEUTRAL[name]


def own_params(params: Mapping[str, Value]) -> dict[str, Value]:
    """Select the parameters of the defense itself."""
    return {name: value for name, value in params.items() if name not in NAMES}


def around_params(params: Mapping[str, Any]) -> dict[str, float | str]:
    """Select what stands around the defense, without neutral values."""
    found = {name: value for name, value in effective(params).items() if name in NAMES}
    return {name: value if isinstance(value, str) else float(value) for name, value in found.items()}


def effective(params: Mapping[str, Value]) -> dict[str, Value]:
    """Leave out neutral values: a gate of 1, a temperature of 1 or of no gate."""
    left = {name: value for name, value in params.items() if NEUTRAL.get(name) != value}
    if GATE.name not in left:
        left.pop(TEMPERATURE.name, None)
    return left


def unmatched(given: Collection[str], then: str | None) -> tuple[str, str] | None:
    """Find a parameter that lacks another one, or has none to belong to.

    Args:
        given: names of parameters that have values.
        then: the second step.

    Returns:
        Its name, and what was expected and found; None if all fit together.
    """
    if TEMPERATURE.name in given and GATE.name not in given:
        return TEMPERATURE.name, f"expected {GATE.name} beside {TEMPERATURE.name}, found none"
    for step, of in STEPS.items():
        name = f"{THEN}_{of.name}" if of else ""
        if of and then == step and name not in given:
            return name, f"expected {name} beside {THEN}: {step}, found none"
        if of and then != step and name in given:
            beside = f"beside {THEN}: {then}" if then else f"without {THEN}"
            return name, f"expected {name} only beside {THEN}: {step}, found it {beside}"
    return None
