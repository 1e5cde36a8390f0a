"""How long slots had no trial, and what the study was waiting for meanwhile."""

from __future__ import annotations

from typing import Literal

from emma_tune.search.driver import StudyDriver

Cause = Literal["victims", "proposals", "measuring", "end", "interruption"]
"""Victims that every point needs; the next proposal; a first task that shows what those like it take of a GPU; the
last tasks of the study, or of its search; the end of a run that was interrupted."""


class IdleSlots:
    """Adds up the seconds that slots had no trial, by cause; each note holds until the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.of_all = 0.0  # seconds of all slots, with a trial or without
        self._since = 0.0
        self._slots = 0
        self._count = 0
        self._cause: Cause = "victims"

    def note(self, now: float, slots: int, count: int, cause: Cause) -> None:
        """Take in how many slots there are from now on, how many of them have no trial, and why."""
        self.of_all += self._slots * (now - self._since)
        if self._count:
            self.seconds[self._cause] = self.seconds.get(self._cause, 0.0) + self._count * (now - self._since)
        self._since, self._slots, self._count, self._cause = now, slots, count, cause


def cause_of_idle_slots(driver: StudyDriver) -> Cause:
    """Return what a study waits for that has nothing for a slot to do."""
    if driver.held_back:
        return "measuring"
    if driver.points.in_full_swing:
        return "proposals"
    return "end" if driver.points.foundations_done() else "victims"
