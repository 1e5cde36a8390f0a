"""A parameter of a defense: its name, its range, and what its values mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A parameter of a defense; of a baseline its budget: how much it may distort.

    Attributes:
        name: as in a study. `epsilon` is a promise: no answer is further than that from p, in L1.
        low: smallest value.
        high: largest value; None if there is none.
        grid: evaluated where a study names only the baseline.
        usual: the value that its publication uses where none is given; a search begins with it. None: the middle
            of what is searched.
        identity: the value at which p' = p; None if there is none.
        counts_classes: whether it is a number of classes, so that p' = p from all K of them on.
        whole: whether only whole numbers make sense.
        above: whether a value must be above `low`.
        epochs: whether it counts the epochs that the surrogate is trained before the matrix.
        optional: of a learned defense: whether a study may leave it out; then it is in no recipe.
        release: of a learned defense: whether its release takes it.
        about: describes it in the schema of a study.
    """

    name: str
    low: float
    high: float | None
    grid: tuple[float, ...] = ()
    identity: float | None = None
    counts_classes: bool = False
    whole: bool = False
    above: bool = False
    epochs: bool = False
    optional: bool = False
    release: bool = False
    about: str = ""
    usual: float | None = None

    @property
    def range(self) -> str:
        """The allowed values, for people."""
        if self.high is None:
            return f"{'>' if self.above else '≥'} {self.low:g}"
        return f"> {self.low:g}" if self.above else f"in [{self.low:g}, {self.high:g}]"

    def is_identity(self, value: float, classes: int) -> bool:
        """Whether p' = p at a value, among K classes."""
        return value == self.identity or (self.counts_classes and value >= classes)

    def allows(self, low: float, high: float) -> bool:
        """Whether all values from `low` to `high` are allowed."""
        begins = self.low < low if self.above else self.low <= low
        return begins and low <= high and (self.high is None or high <= self.high)
