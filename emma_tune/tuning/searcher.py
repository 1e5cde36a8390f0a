"""The adapter that lets Ray Tune ask a study's driver for trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.search import Searcher

from emma_tune.search.driver import OVER, StudyDriver
from emma_tune.tuning.ray_patches import NeverPickled


class DriverSearcher(NeverPickled, Searcher):
    """Hand Tune's questions to the driver of a study.

    Attributes:
        driver: the driver.
        broken: the first exception raised by the driver, which Tune would not pass on: the run must end with it.
    """

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()
        self.driver = driver
        self.broken: Exception | None = None

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configure the next trial; None while nothing is ready, `FINISHED` when every point is settled."""
        answer = self.driver.suggest(trial_id)
        return str(Searcher.FINISHED) if answer == OVER else answer

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Report a trial's progress; True if the trial can be stopped, as no open point needs its tasks."""
        try:
            return self.driver.hear(trial_id, result)
        except Exception as error:
            self.broken = self.broken or error
            return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Report the end of a trial; with `error`, that its worker died too often."""
        try:
            self.driver.ended(trial_id, result if not error else None)
        except Exception as broken:  # Tune would print it, and run the trial once more
            self.broken = self.broken or broken
