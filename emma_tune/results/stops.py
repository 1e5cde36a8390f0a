"""Why points are stopped, in words, and how many were."""

from __future__ import annotations

from collections.abc import Mapping

STOPS = {"dominated": "dominated", "excluded": "beyond the limits", "screened": "screened"}
"""In words, by the state of a stopped point: another one beats whatever it becomes, its costs alone are beyond the
limits, or another one beats what its clones are predicted to come to (`search.screen`)."""


def stopped_count(counts: Mapping[str, int]) -> int:
    """Count the points that were stopped, whatever for."""
    return sum(counts.get(why, 0) for why in STOPS)


def why_stopped(counts: Mapping[str, int], risk: float | None) -> list[str]:
    """Say how many points were stopped for what: 3 dominated, 2 screened at a risk of 10 %.

    The risk is that of `search.screen`.
    """
    shown = "" if risk is None else f" at a risk of {100 * risk:g} %"
    return [
        f"{counts[why]} {words}{shown if why == 'screened' else ''}"
        for why, words in STOPS.items()
        if counts.get(why)
    ]
