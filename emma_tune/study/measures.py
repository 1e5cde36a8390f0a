"""The measures of a point: the one table from which objectives, tables, pages, pictures and trackers derive.

The accuracy of a single attacker's clone is a measure, too, under `attackers.NAME`; `measure` looks up both kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Direction = Literal["min", "max"]
ATTACKERS = "attackers."
"""Prefix of the measures of a single attacker."""


@dataclass(frozen=True)
class Measure:
    """A number that describes a point.

    Attributes:
        direction: in which it is better for the defender.
        best: the value that no defense can better.
        worst: the value that no defense can exceed: the corner of the fixed box of the hypervolume.
        unit: empty, or of a rate in [0, 1] what it is shown in: `%`, or `points` for a difference of rates.
        head: names it at the head of a column.
        label: names it on an axis or in a sentence, without unit and images.
        metric: where the responses stage keeps it, with `{part}` for validation or test; None if it is measured
            on clones.
        pool: whether it is measured on the query pool, and so the same in both parts.
        gated: whether it is measured behind a gate only: without one a defense acts on every answer.
    """

    direction: Direction
    best: float
    worst: float
    unit: Literal["", "%", "points"]
    head: str
    label: str
    metric: str | None = None
    pool: bool = False
    gated: bool = False

    @property
    def scale(self) -> float:
        """Factor from a value to its unit."""
        return 100.0 if self.unit else 1.0

    @property
    def of_clones(self) -> bool:
        """Whether it says what attackers get, rather than what the defense costs."""
        return self.metric is None

    def images(self, part: str = "test") -> str:
        """Name the images that it is measured on."""
        return "query pool" if self.pool else f"{part} images"

    def axis(self, part: str = "test") -> str:
        """Label an axis, with the images and the unit."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.label}, {self.images(part)}{unit}"

    def shown(self, value: float) -> str:
        """Format a value with its unit: 0.412, 96.5 %, 1.3 points."""
        return f"{100 * value:.1f} {self.unit}" if self.unit else f"{value:.3f}"

    def beyond(self, value: float, bound: float) -> float:
        """Return by how much a value is worse than a bound; 0 if it is not."""
        return max(0.0, value - bound if self.direction == "min" else bound - value)


MEASURES: dict[str, Measure] = {
    "l1": Measure("min", 0.0, 2.0, "", "l1", "budget l1: mean ‖p′ − p‖₁", "{part}.l1"),
    "attacker_accuracy": Measure("min", 0.0, 1.0, "%", "worst clone", "worst clone’s accuracy"),
    "accuracy_drop": Measure(
        "min", -1.0, 1.0, "points", "drop", "accuracy that the victim loses", "{part}.accuracy_drop"
    ),
    "victim_accuracy": Measure("max", 1.0, 0.0, "%", "victim", "victim’s accuracy", "{part}.victim_accuracy"),
    "l1_queries": Measure("min", 0.0, 2.0, "", "l1, pool", "budget l1: mean ‖p′ − p‖₁", "queries.l1", pool=True),
    "flip_rate": Measure("min", 0.0, 1.0, "%", "flipped", "top classes that change", "{part}.flip_rate"),
    "acts_on": Measure(
        "min", 0.0, 1.0, "%", "acts on", "answers on which the defense acts", "{part}.acts_on", gated=True
    ),
    "acts_on_queries": Measure(
        "min",
        0.0,
        1.0,
        "%",
        "acts on, pool",
        "answers on which the defense acts",
        "queries.acts_on",
        pool=True,
        gated=True,
    ),
}
"""By name: what can be an objective, and what is known of every finished point. Plug-ins add theirs.

`attacker_accuracy` is the worst case: the best clone of the attackers that count (`when: always`).
"""

OF_EVERY_STUDY = tuple(MEASURES)
"""Those that no plug-in declares."""


def measure(name: str) -> Measure:
    """Look up a measure: one of `MEASURES`, or `attackers.NAME`.

    Raises:
        KeyError: if there is no such measure.
    """
    if name.startswith(ATTACKERS) and name != ATTACKERS:
        attacker = name.removeprefix(ATTACKERS)
        return replace(MEASURES["attacker_accuracy"], head=attacker, label=f"accuracy of the clone of {attacker}")
    return MEASURES[name]


def known_values(figures: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Select the values of measures that are known among a point's figures of one part."""
    gated = {name for name in names if MEASURES[name].gated and "l1" in figures}
    return {name: value_of(figures, name) for name in names if name in figures or name in gated}


def value_of(figures: Mapping[str, Any], name: str) -> float:
    """Look up the value of a measure among a point's figures of one part.

    Raises:
        KeyError: if it is not there, as of an attacker that does not attack the point.
    """
    if name.startswith(ATTACKERS):
        return float(figures["attackers"][name.removeprefix(ATTACKERS)])
    if name not in figures and MEASURES[name].gated:
        return float(figures["l1"] > 0)  # without a gate a defense acts on every answer, and `none` on none
    return float(figures[name])
