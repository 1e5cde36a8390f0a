"""Confidence intervals of a mean of few values, and of a share of few images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

CONFIDENCE = 0.95
MIN_VALUES = 3  # fewest values with an interval
MIN_PAIRS = 6
"""Fewest pairs from which a difference is judged: with fewer, no sign test can reach 5 %, as 2·2⁻⁵ is more."""


@dataclass(frozen=True)
class Interval:
    """The mean of n values with its 95 % interval.

    Attributes:
        deviation: their standard deviation (n − 1); None of a single value.
        low, high: ends of the interval; None of fewer than three values.
        count: n.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int

    def within(self, least: float, most: float) -> Interval:
        """Cut the interval to the values that the measure can take."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(least, self.low), high=min(most, self.high))


def interval(values: Sequence[float]) -> Interval:
    """Compute Student's interval, `mean ± t_{0.975, n−1} · s/√n`, which assumes values that are about normal.

    Args:
        values: one at least; two give a deviation but no interval, which would be 12.7 deviations wide.
    """
    from scipy.special import stdtrit  # scipy.stats looks for torch, which reading does without

    mean, n = fmean(values), len(values)
    if n < 2:
        return Interval(mean, None, None, None, n)
    deviation = stdev(values)
    if n < MIN_VALUES:
        return Interval(mean, deviation, None, None, n)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, deviation, mean - reach, mean + reach, n)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share of a number of images (Wilson 1927), a subset of [0, 1].

    For a mean over seeds this is the interval of a single seed: all seeds are tested on the same images, so more
    of them do not narrow it.

    Args:
        share: in [0, 1].
        count: how many images it was measured on, n ≥ 1.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether two intervals have a value in common, so that they cannot be distinguished."""
    return one[0] <= other[1] and other[0] <= one[1]
