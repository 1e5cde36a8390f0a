"""Studies in TensorBoard and MLflow. Trackers read a study from disk like any reader, so that none can stop a run.

Tracking is idempotent: repeated, while a study runs or after it, it adds what is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from emma_tune.plan import Point, Task
from emma_tune.results import StudyView
from emma_tune.results.tables import TaskPlace, placed_tasks
from emma_tune.stages import SurrogateSettings
from emma_tune.storage.store import Record

SLASH = "%2F"  # in the name of an attacker, which is one step of a path


@dataclass(frozen=True)
class TrackedPoint:
    """A point whose state is finished, failed or one of `stops.STOPS`.

    Attributes:
        figures: every known measure, as `StudyView.points` names them.
        tasks: the finished tasks that it was the first point to need, by `run_path`.
    """

    point: Point
    state: str
    figures: Mapping[str, float]
    tasks: Mapping[str, Task]


class Tracker(Protocol):
    """Takes finished tasks and concluded points of one study."""

    def log_task(self, place: TaskPlace, task: Task, record: Record) -> None:
        """Log a finished task."""

    def log_point(self, tracked: TrackedPoint) -> None:
        """Log a concluded point; its tasks have been logged before."""


def track(view: StudyView, trackers: Iterable[Tracker]) -> None:
    """Log all that is finished of a study."""
    trackers = tuple(trackers)
    finished: dict[int, dict[str, Task]] = {}
    for place, task in placed_tasks(view):
        record = view.record(task)
        if record:
            finished.setdefault(place.point, {})[run_path(place, task)] = task
            for tracker in trackers:
                tracker.log_task(place, task, record)
    for tracked in _tracked_points(view, finished):
        for tracker in trackers:
            tracker.log_point(tracked)


def _tracked_points(view: StudyView, finished: Mapping[int, Mapping[str, Task]]) -> Iterator[TrackedPoint]:
    parameters = {name for point in view.ledger.points.values() for name in point.params}
    for row in view.points().to_dict("records"):
        point = view.ledger.points[row["point"]]
        figures = {
            str(name): value
            for name, value in row.items()
            if isinstance(value, float) and math.isfinite(value) and name not in parameters
        }
        if row["state"] != "unfinished":
            yield TrackedPoint(point, row["state"], figures, finished.get(point.number, {}))


def run_path(place: TaskPlace, task: Task) -> str:
    """Name a task by a path: seed, stage and attacker; the legs of a surrogate by their ends.

    A study names its attackers freely: a name with slashes is still one step of the path.
    """
    end = f"-{task.config.until}" if isinstance(task.config, SurrogateSettings) else ""
    whose = f"-{place.attacker.replace('/', SLASH)}" if place.attacker else ""
    return f"seed-{place.run}/{task.stage}{whose}{end}"
