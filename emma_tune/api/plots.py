"""The pictures of a study as Matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emma_tune.results import StudyView

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plots:
    """The pictures of `emma-tune plot`. A notebook shows a figure that is the last value of a cell.

    One that has nothing to show yet says why. `figure.savefig` writes it.
    """

    def __init__(self, view: StudyView) -> None:
        self._view = view

    def tradeoff(self) -> Figure:
        """Draw budget and victim accuracy against the worst clone, and against each attacker's."""
        return self._draw("tradeoff")

    def search(self) -> Figure:
        """Draw the hypervolume of the front, point by point, and which hyperparameters mattered."""
        return self._draw("search")

    def matrices(self) -> Figure:
        """Draw the learned matrices by budget, their spectra, and the classes that they trade."""
        return self._draw("matrices")

    def attackers(self) -> Figure:
        """Draw how each attacker's clone learns."""
        return self._draw("attackers")

    def cost(self) -> Figure:
        """Draw the seconds by stage, and those that were saved."""
        return self._draw("cost")

    def compare(self) -> Figure:
        """Draw the defenses of the study side by side, over seeds."""
        return self._draw("compare")

    def _draw(self, name: str) -> Figure:
        from emma_tune.outputs.pictures import draw

        return draw(name, [self._view]).figure
