"""The results of the study's attackers at a point, compared with no defense."""

from __future__ import annotations

from dataclasses import dataclass

from emma_tune.outputs.points import ONE_POINT, undefended_point
from emma_tune.plan import Point
from emma_tune.results import StudyView


@dataclass(frozen=True)
class AttackerResult:
    """One attacker at one point; accuracies on test data, means over seeds, None where not measured.

    Attributes:
        name: in the study.
        kind: one of `ATTACKS`.
        knows: what it is assumed to know or to have.
        clone: of its clone.
        undefended: of its clone without a defense.
        attacks: whether it can attack: one that needs a matrix cannot where there is none.
        bar: what its clone must come within a point of, or above, to beat the defense: its own clone without a
            defense; of an attacker that needs a matrix, and so has none, the worst one without a defense.
    """

    name: str
    kind: str
    knows: str
    clone: float | None
    undefended: float | None
    attacks: bool
    bar: float | None

    @property
    def beats(self) -> bool | None:
        """Whether it loses nothing to the defense; None where one of the two was not measured."""
        if self.clone is None or self.bar is None:
            return None
        return self.clone >= self.bar - ONE_POINT


def attackers_at(view: StudyView, point: Point) -> list[AttackerResult]:
    """List every attacker of the study with its result at a point."""
    here, without = view.figures(point), undefended_point(view)
    clones = here["test"]["attackers"] if here else {}
    before = without[1]["test"]["attackers"] if without else {}
    worst = without[1]["test"]["attacker_accuracy"] if without else None
    able = view.planner.attackers_of(point.defense)
    return [
        AttackerResult(
            name,
            attacker["kind"],
            attacker["knows"],
            clones.get(name),
            before.get(name),
            attacks=name in able,
            bar=before.get(name, worst),
        )
        for name, attacker in view.attackers().items()
    ]
