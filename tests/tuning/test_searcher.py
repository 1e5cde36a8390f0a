"""The adapter between Ray Tune and the driver of a study."""

from __future__ import annotations

from ray.tune.search import Searcher

from emma_tune.storage.store import CorruptArtifactError
from emma_tune.tuning.tuner import DriverSearcher
from tests.search.desk import FIRST


def test_an_exception_of_the_driver_is_kept_where_tune_would_swallow_it(desk):
    searcher = DriverSearcher(desk.open(search={"stop": "none"}))
    running = desk.finish_all_but(FIRST)
    for trial, tasks in running.values():
        desk.make(tasks)
        (evaluation,) = (task for task in tasks if task.stage == "evaluation")
        record = desk.store.folder("evaluation", evaluation.key) / "record.json"
        record.write_text(record.read_text()[:100])  # damaged between its commit and its reading
        searcher.on_trial_complete(trial, {"done": True})
    assert isinstance(searcher.broken, CorruptArtifactError)
    assert desk.events("failed") == []  # it is no fault of the point


def test_tune_is_told_when_every_point_is_settled(left):
    assert DriverSearcher(left.driver).suggest("last") == Searcher.FINISHED
