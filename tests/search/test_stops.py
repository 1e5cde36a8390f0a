"""Points beyond the limits stop by their costs, screened ones by prediction; both come back after an edit."""

from __future__ import annotations

import json

import pytest

from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.search.driver import OVER
from emma_tune.study.file import StudyError, load_study
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
        **{"asked": 4, "finished": 3, "infeasible": 0, "failed": 0},
        **{"dominated": 0, "excluded": 1, "screened": 0},
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


# --- screened ---------------------------------------------------------------------------------------------

LAMBDAS = [round(0.02 * (n + 1), 2) for n in range(14)]
SEARCH = {"stop": "own", "points": 14, "space": {"lambda": {"choices": LAMBDAS}, "lr_gamma": 0.3, "st_epoch": 1}}
LAST = FIRST + 13


@pytest.fixture
def line(desk, monkeypatch):
    """Clones get worse along a line, but the third from the end is far worse: it beats the two behind it."""
    l1 = {FIRST + n: 0.5 + 0.1 * n for n in range(14)}
    monkeypatch.setattr(figures, "COSTS", {**figures.COSTS, **{n: (x, 0.0) for n, x in l1.items()}})
    clones = {n: 0.9 - 0.4 * (x - 0.5) + 0.002 * (n % 3) for n, x in l1.items()}
    clones[LAST - 2] -= 0.2
    monkeypatch.setattr(figures, "CLONES", {**figures.CLONES, **clones})
    return desk


def run(desk, risk) -> None:
    desk.open(slots=1, search={**SEARCH, **({} if risk is None else {"screen": risk})})
    finish_all(desk)


def test_a_point_whose_clones_are_predicted_to_leave_it_beaten_is_screened(line):
    run(line, 0.2)
    event = line.events("screened")[0]
    assert (event["point"], event["by"], event["risk"]) == (LAST - 1, LAST - 2, 0.2)
    assert event["left_out"] == 2 * EPOCHS
    assert event["bounds"]["validation"]["attacker_accuracy"] == 0.0
    predicted = event["predicted"]["attacker_accuracy"]
    assert figures.CLONES[LAST - 2] <= predicted <= figures.CLONES[LAST - 1]
    assert line.journal()[LAST - 1].values[1] == pytest.approx(event["estimate"]["attacker_accuracy"])
    view = StudyView(line.place.root)
    assert view.counts()["screened"] == len(line.events("screened"))
    assert view.state(view.point(LAST - 1)) == "screened"
    assert status_of(view)["state"] == "finished"


def test_without_screen_none_is(line):
    run(line, None)
    assert line.events("screened") == []


@pytest.mark.parametrize("risk", [0.2, 0.3])
def test_it_stays_screened_when_the_study_goes_on(line, risk):
    run(line, 0.2)
    screened, before = len(line.events("screened")), line.place.ledger.read_text().count("\n")
    line.open(slots=1, search={**SEARCH, "screen": risk})
    assert line.suggest() is None
    assert line.driver.outcomes.stopped["screened"] == screened
    assert line.place.ledger.read_text().count("\n") == before


@pytest.mark.parametrize("risk", [None, 0.01])
def test_it_is_attacked_after_all_if_screening_is_switched_off_or_may_risk_less(line, risk):
    run(line, 0.2)
    view = StudyView(line.place.root)
    run(line, risk)
    after = StudyView(line.place.root)
    assert view.counts()["screened"] > 0
    assert after.counts()["screened"] == 0
    assert after.state(after.point(LAST - 1)) in ("finished", "dominated")


def test_a_point_of_which_enough_is_known_is_dominated_not_screened(line):
    run(line, 0.2)
    lines = [json.loads(text) for text in line.place.ledger.read_text().splitlines()]
    for event in lines:
        if event["event"] == "screened":
            event["bounds"]["validation"]["attacker_accuracy"] = figures.CLONES[LAST - 2] + 0.001
    line.place.ledger.write_text("".join(json.dumps(event) + "\n" for event in lines))
    view = StudyView(line.place.root)
    outcome = view.outcomes[LAST - 1]
    assert (view.state(view.point(LAST - 1)), outcome.risk, outcome.by) == ("dominated", None, LAST - 2)


@pytest.mark.parametrize(("written", "read"), [(0.1, 0.1), (0.5, 0.5), ("none", None), (None, None)])
def test_a_risk_or_none(study_file, written, read):
    assert load_study(study_file(search={"screen": written})).search.screen == read


@pytest.mark.parametrize("risk", [0, -0.1, 0.6, 1, True, "soft", [0.1]])
def test_what_is_no_risk(study_file, risk):
    with pytest.raises(StudyError, match=r"search\.screen: expected "):
        load_study(study_file(search={"screen": risk}))


def test_a_study_without_it_is_written_as_before(study_file):
    assert "screen" not in load_study(study_file()).search.model_dump(mode="json")
