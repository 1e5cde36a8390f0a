"""What the study's thieves made of a point's answers, held against no defence."""

from __future__ import annotations

from dataclasses import dataclass

from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.figures import Figures

CLOSE = 0.01
"""A clone within one point of the undefended one has lost nothing to the defence."""

UNDEFENDED = "none"


@dataclass(frozen=True)
class Thief:
    """One thief at one point; accuracies on test data, means over seeds, None where not measured.

    Attributes:
        name: in the study.
        kind: one of `ATTACKS`.
        knows: what it is assumed to know or to have.
        clone: of its clone.
        undefended: of its clone without a defence.
        attacks: whether there is anything for it to attack: who needs a matrix has nothing where there is none.
        bar: what its clone must come within `CLOSE` of, or above, to beat the defence: its own clone without a
            defence; of a thief who needs a matrix, and so has none, the worst one without a defence.
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
        """Whether it loses nothing to the defence; None where one of the two was not measured."""
        if self.clone is None or self.bar is None:
            return None
        return self.clone >= self.bar - CLOSE - 1e-9  # so that 0.97 is within a point of 0.98


def undefended(view: StudyView) -> tuple[Point, Figures] | None:
    """The finished point of the study without a defence; None if there is none."""
    for point in view.ledger.points.values():
        figures = view.figures(point) if point.defense == UNDEFENDED else None
        if figures:
            return point, figures
    return None


def thieves_at(view: StudyView, point: Point) -> list[Thief]:
    """Every thief of the study."""
    here, without = view.figures(point), undefended(view)
    clones = here["test"]["attackers"] if here else {}
    before = without[1]["test"]["attackers"] if without else {}
    worst = without[1]["test"]["attacker_accuracy"] if without else None
    able = view.planner.attackers_of(point.defense)
    return [
        Thief(
            name,
            thief["kind"],
            thief["knows"],
            clones.get(name),
            before.get(name),
            attacks=name in able,
            bar=before.get(name, worst),
        )
        for name, thief in view.attackers().items()
    ]
