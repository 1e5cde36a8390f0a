"""The point to deploy, as an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emma_tune.outputs.points import point_lines
from emma_tune.outputs.words import numbered


class BestPoint:
    """The best point within bounds.

    Attributes:
        point: its number.
        defense: its name.
        params: parameters by name.
        test: measures on test images by name, with `attackers`, clone accuracy by attacker.
        validation: the same on validation images, which chose it.
        intervals: ends of the 95 % interval of each share of test images.
        alike: numbers of the other points within the bounds that are not distinguishable from it.
        details: all that `emma-tune best --json` prints.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        chosen = found["point"]
        beside = ("point", "params", "defense", "validation", "intervals", "excess", "broken")
        self.details = dict(found)
        self.point: int = chosen["point"]
        self.defense: str = chosen["defense"]
        self.params: dict[str, Any] = chosen["params"]
        self.test: dict[str, Any] = {name: value for name, value in chosen.items() if name not in beside}
        self.validation: dict[str, Any] = chosen["validation"]
        self.intervals: dict[str, Any] = chosen["intervals"]
        self.alike: list[int] = found["alike"]

    def __repr__(self) -> str:
        lines = point_lines(self.details["point"], self.details)
        if self.alike:
            lines.append(f"not distinguishable from it on the test images: {numbered(self.alike)}")
        return "\n".join(lines)
