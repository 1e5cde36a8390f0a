"""How long slots had no trial, and what the study was waiting for meanwhile."""

from __future__ import annotations

from typing import Literal

from emma_tune.search.driver import StudyDriver

Cause = Literal["victims", "proposals", "end"]
"""Victims that every point needs; the next proposal; the last tasks of the study, or of its search."""


class IdleSlots:
    """Adds up the seconds that slots had no trial, by cause; what it is told of holds until it is told again."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = 0.0
        self._count = 0
        self._cause: Cause = "victims"

    def note(self, now: float, count: int, cause: Cause) -> None:
        """Take in how many slots have no trial from now on, and why."""
        if self._count:
            self.seconds[self._cause] = self.seconds.get(self._cause, 0.0) + self._count * (now - self._since)
        self._since, self._count, self._cause = now, count, cause


def cause_of_idle_slots(driver: StudyDriver) -> Cause:
    """Return what a study waits for that has nothing for a slot to do."""
    if driver.points.in_full_swing:
        return "proposals"
    return "end" if driver.points.foundations_done() else "victims"
