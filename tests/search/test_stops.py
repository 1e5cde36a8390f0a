"""Points beyond the limits stop by their costs, and come back after an edit."""

from __future__ import annotations

import pytest
import torch

from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.search.driver import OVER
from tests.search import desk as figures
from tests.search.desk import EPOCHS, FIRST

LIMITED = {"limits": {"accuracy_drop": 0.1}}


@pytest.fixture
def beyond(desk, monkeypatch):
    """The first searched point costs the victim more than the limit."""
    monkeypatch.setitem(figures.COSTS, FIRST, (1.0, 0.2))
    return desk


def finish_all(desk) -> None:
    while some := list(desk.trials()):
        for trial, tasks in some:
            desk.finish(trial, tasks)
    assert desk.driver.suggest("last") == OVER


def test_rounds_that_would_ask_nothing_are_not_left_out(beyond):
    beyond.answers = {"queries": torch.zeros(300, 10)}
    beyond.open(slots=1, attackers={"jacobian": {"epochs": EPOCHS, "queries": 100}}, **LIMITED)
    finish_all(beyond)
    (event,) = beyond.events("excluded")
    assert event["left_out"] == 2 * EPOCHS, "of six rounds: the labeled images, and one moved copy of each"


def test_a_point_beyond_the_limits_is_not_attacked(beyond):
    beyond.open(slots=1, **LIMITED)
    finish_all(beyond)
    (event,) = beyond.events("excluded")
    assert (event["point"], event["by"], event["left_out"]) == (FIRST, None, 2 * EPOCHS)
    assert event["bounds"]["validation"]["accuracy_drop"] == 0.2
    clones = beyond.plan(FIRST).attackers.values()
    assert not any(beyond.store.has("attacker", task.key) for task in clones)
    view = StudyView(beyond.place.root)
    assert view.counts() == {
        "asked": 4, "finished": 3, "infeasible": 0, "stopped": 1, "dominated": 0, "excluded": 1, "failed": 0,
    }  # fmt: skip
    assert (view.state(view.point(FIRST)), view.within_limits(view.point(FIRST))) == ("excluded", False)
    assert status_of(view)["state"] == "finished"


def test_the_sampler_is_told_its_costs_and_what_its_clones_would_probably_have_come_to(beyond):
    beyond.open(slots=1, **LIMITED)
    finish_all(beyond)
    trial = beyond.journal()[FIRST]
    assert (trial.state.name, trial.user_attrs["stopped"]) == ("COMPLETE", True)
    assert trial.values == [1.0, pytest.approx(0.8)]  # as good as the victim: no other was finished yet
    (event,) = beyond.events("excluded")
    assert event["estimate"]["attackers"] == pytest.approx({"soft": 0.8, "hard": 0.8})


@pytest.mark.parametrize("changes", [{"limits": {"accuracy_drop": 0.2}}, {"search": {"stop": "none"}, **LIMITED}])
def test_it_is_attacked_once_the_limit_allows_it_or_nothing_stops(beyond, monkeypatch, changes):
    monkeypatch.setitem(figures.CLONES, FIRST, 0.3)
    beyond.open(slots=1, **LIMITED)
    finish_all(beyond)
    beyond.open(slots=1, **LIMITED)  # nothing has changed
    assert beyond.suggest() is None
    assert beyond.driver.outcomes.stopped == {"excluded": 1}
    beyond.open(slots=1, **changes)
    finish_all(beyond)
    assert beyond.driver.outcomes.finished == 4
    assert StudyView(beyond.place.root).state(StudyView(beyond.place.root).point(FIRST)) == "finished"
