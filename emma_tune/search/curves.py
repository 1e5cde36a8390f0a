"""Where a clone that is stopped early would have come to, by the curves of clones that were not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


class Curves:
    """Best validation accuracy up to each epoch, of finished clones by defense and attacker."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], list[Sequence[float]]] = {}

    def add(self, defense: str, attacker: str, curve: Sequence[float]) -> None:
        """Remember a finished clone: accuracies in [0, 1] that never fall, one an epoch."""
        self._known.setdefault((defense, attacker), []).append(curve)

    def forecast(self, defense: str, attacker: str, best: float, epochs: int) -> float:
        """Estimate the final best accuracy of a clone.

        What it has, and the median of what this attacker's finished clones of this defense (or else of any) still
        gained after so many epochs.

        Args:
            defense: that it attacks.
            attacker: that trains it.
            best: its best accuracy so far, in [0, 1].
            epochs: it has been trained, ≥ 1.

        Returns:
            In [best, 1]; `best` where no finished clone was trained as long.
        """
        of_any = [curve for (_, name), curves in self._known.items() if name == attacker for curve in curves]
        known = self._known.get((defense, attacker), of_any)
        gains = [curve[-1] - curve[epochs - 1] for curve in known if len(curve) >= epochs]
        return min(1.0, best + median(gains)) if gains else best
