"""How far a mean of few values can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

CONFIDENCE = 0.95

ENOUGH = 6
"""Pairs from which on a difference is spoken of: of fewer, no test of signs can reach 5 %, as 2·2⁻⁵ is more."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: of the values.
        deviation: their standard deviation (n − 1); None of a single value.
        low: lower end of the interval; None of a single value.
        high: upper end.
        count: n.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int

    def as_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


def interval(values: Sequence[float]) -> Interval:
    """Student's: `mean ± t_{0.975, n−1} · s/√n`, which assumes values that are about normal.

    Args:
        values: one at least.
    """
    from scipy.special import stdtrit  # scipy.stats looks for torch, which reading does without

    mean, n = fmean(values), len(values)
    if n < 2:
        return Interval(mean, None, None, None, n)
    deviation = stdev(values)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, deviation, mean - reach, mean + reach, n)
