"""Why points are stopped, in words."""

from __future__ import annotations

from collections.abc import Mapping

STOPS = {"dominated": "dominated", "excluded": "beyond the limits"}
"""In words, by the state of a stopped point: another one beats whatever it becomes, or its costs alone are beyond
the limits."""


def why_stopped(counts: Mapping[str, int]) -> list[str]:
    """Say how many points were stopped for what: 3 dominated, 2 beyond the limits."""
    return [f"{counts[why]} {words}" for why, words in STOPS.items() if counts.get(why)]
