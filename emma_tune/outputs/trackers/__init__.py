"""Studies in trackers that people already use. They read a study as anybody does, so that none can stop a run.

What is there already is not written again: tracking once more, while a study runs or after it, adds what is new.
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


@dataclass(frozen=True)
class Concluded:
    """A point that is finished, dominated or failed.

    Attributes:
        point: with its parameters.
        state: one of these.
        figures: every measure that is known, as `StudyView.points` names them.
        tasks: those finished tasks that it was the first to need, by what they are for.
    """

    point: Point
    state: str
    figures: Mapping[str, float]
    tasks: Mapping[str, Task]


class Tracker(Protocol):
    """Takes finished tasks and concluded points of one study."""

    def task(self, place: TaskPlace, task: Task, record: Record) -> None:
        """A task is finished."""

    def point(self, concluded: Concluded) -> None:
        """A point is concluded; its tasks have been handed over before."""


def track(view: StudyView, trackers: Iterable[Tracker]) -> None:
    """Hands all that is finished of a study to trackers."""
    trackers = tuple(trackers)
    finished: dict[int, dict[str, Task]] = {}
    for place, task in placed_tasks(view):
        record = view.record(task)
        if record:
            finished.setdefault(place.point, {})[named(place, task)] = task
            for tracker in trackers:
                tracker.task(place, task, record)
    for concluded in _concluded(view, finished):
        for tracker in trackers:
            tracker.point(concluded)


def _concluded(view: StudyView, finished: Mapping[int, Mapping[str, Task]]) -> Iterator[Concluded]:
    for row in view.points().to_dict("records"):
        point = view.ledger.points[row["point"]]
        figures = {
            str(name): value
            for name, value in row.items()
            if isinstance(value, float) and math.isfinite(value) and name not in PARAMETERS | point.params.keys()
        }
        if row["state"] != "unfinished":
            yield Concluded(point, row["state"], figures, finished.get(point.number, {}))


PARAMETERS = {"lambda", "lr_gamma", "st_epoch"}

SLASH = "%2F"
"""In the name of a thief, which is one step of a path."""


def named(place: TaskPlace, task: Task) -> str:
    """What a task is for, as a path: seed, stage, and whose it is; legs of a surrogate by their ends.

    Thieves have what names a study gives them: one with slashes is still one step of the path.
    """
    end = f"-{task.config.until}" if isinstance(task.config, SurrogateSettings) else ""
    whose = f"-{place.attacker.replace('/', SLASH)}" if place.attacker else ""
    return f"seed-{place.run}/{task.stage}{whose}{end}"
