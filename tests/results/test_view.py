"""Points as people read them: seeds averaged, thieves at their worst, the front by validation figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emma_tune.cli.printing.studies import show_status
from emma_tune.outputs.report.cautions import cautions_of
from emma_tune.outputs.report.summary import summary_of
from emma_tune.plan import Planner, Point
from emma_tune.results import StudyView
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.results.front import hypervolume
from emma_tune.results.ledger import FinishedTask, LedgerWriter, Outcome, RunSummary
from emma_tune.results.status import status_of
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError, load_study
from emma_tune.study.measures import MEASURES

IMAGES = {"victim": "v", "queries": "q"}


@pytest.fixture
def folder(study_file, tmp_path):
    """A study with four finished points and a failed one, written down by hand."""
    study = load_study(study_file(limits={"accuracy_drop": 0.02}))
    place = StudyFolder(tmp_path / "runs" / "tiny")
    place.root.mkdir(parents=True)
    place.write(Started(study, IMAGES, tmp_path / "runs" / "store"))
    digest = Planner(study, IMAGES).digest
    writer = LedgerWriter(place.ledger)
    writer.run("one")
    rows = [  # validation l1, attacker, drop; test l1, attacker
        ("none", (0.0, 0.9, 0.0), (0.0, 0.92)),
        ("emma", (1.0, 0.5, 0.01), (1.1, 0.55)),
        ("emma", (1.2, 0.6, 0.0), (0.9, 0.1)),  # dominated in validation, however good its test figures are
        ("emma", (0.5, 0.2, 0.3), (0.5, 0.2)),  # beyond the limit
    ]
    for number, (defense, (l1, attacker, drop), (test_l1, test_attacker)) in enumerate(rows):
        params = {} if defense == "none" else {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 1}
        writer.asked(Point(number, defense, params), {})
        common = {"victim_accuracy": 0.9, "flip_rate": 0.0, "l1_queries": 0.0, "attackers": {"soft": 0.1}}
        figures = {
            "validation": {"l1": l1, "attacker_accuracy": attacker, "accuracy_drop": drop, **common},
            "test": {"l1": test_l1, "attacker_accuracy": test_attacker, "accuracy_drop": 0.5, **common},
        }
        writer.concluded(number, Outcome(digest, figures=figures))
    writer.asked(Point(4, "emma", {"lambda": 0.2, "lr_gamma": 0.3, "st_epoch": 1}), {})
    writer.failed(4, plan=digest, reason="matrix: ValueError: no", task="k")
    writer.close()
    return place.root


def test_membership_is_by_validation_and_figures_are_of_the_test_part(folder):
    front = StudyView(folder).front()
    assert [(p["point"], p["l1"], p["attacker_accuracy"]) for p in front["points"]] == [
        (0, 0.0, 0.92),
        (1, 1.1, 0.55),
    ]
    assert front["points"][1]["validation"]["l1"] == 1.0
    # two steps: from 0 to 1.1 at 0.92, from there to 2 at 0.55
    assert front["hypervolume"] == pytest.approx(1.1 * 0.08 + 0.9 * 0.45)
    assert front["hypervolume"] == pytest.approx(hypervolume(front["points"], front["objectives"]))
    assert front["hypervolume_validation"] == pytest.approx(1.0 * 0.1 + 1.0 * 0.5)


def test_the_table_has_every_point(folder):
    table = StudyView(folder).points()
    assert list(table.state) == ["finished"] * 4 + ["failed"]
    assert list(table.on_front) == [True, True, False, False, False]
    assert list(table.within_limits) == [True, True, True, False, False]
    assert table.loc[4, "reason"] == "matrix: ValueError: no"
    assert table.loc[1, "l1"] == 1.1
    assert table.loc[1, "validation.attacker_accuracy"] == 0.5


def test_status_counts_points_and_names_failures(folder):
    status = status_of(StudyView(folder))
    assert status["points"] == {
        "asked": 5, "finished": 4, "infeasible": 1,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 1, "running": 0,
    }  # fmt: skip
    assert status["failures"] == [{"point": 4, "reason": "matrix: ValueError: no"}]
    assert status["state"] == "finished"
    assert status["driver"] is None


# --- dominated --------------------------------------------------------------------------------------------


def bounds(attacker: float, drop: float = 0.0) -> dict:
    """Of a point whose costs are known: l1 1.2 in validation, 1.3 in test."""
    costs = {"victim_accuracy": 0.9, "flip_rate": 0.0, "l1_queries": 0.5, "accuracy_drop": drop}
    clones = {"attacker_accuracy": attacker, "attackers": {"soft": attacker, "hard": 0.0}}
    return {"validation": {"l1": 1.2, **costs, **clones}, "test": {"l1": 1.3, **costs}}


@pytest.fixture
def with_dominated(folder):
    """A fifth searched point, beaten by point 1 in the middle of its soft clone."""
    view = StudyView(folder)
    writer = LedgerWriter(folder / "ledger.jsonl")
    writer.asked(Point(5, "emma", {"lambda": 0.3, "lr_gamma": 0.3, "st_epoch": 1}), {})
    tasks = {
        "v": FinishedTask("victim", "one", 10.0, 2), "r": FinishedTask("responses", "two", 0.5, 0),
        "a": FinishedTask("attacker", "two", 6.0, 3),
    }  # fmt: skip
    told = Outcome(view.planner.digest, bounds=bounds(0.55), by=1, left_out=5, tasks=tasks)
    writer.concluded(5, told)
    writer.close()
    return folder


def change(folder, study_file, tmp_path, **changes) -> None:
    changes = {"search": {"stop": "joint"}, "limits": {"accuracy_drop": 0.02}} | changes
    StudyFolder(folder).write(Started(load_study(study_file(**changes)), IMAGES, tmp_path / "runs" / "store"))


def test_a_dominated_point_is_shown_with_its_costs_and_what_its_clones_had_reached(
    with_dominated, study_file, tmp_path
):
    change(with_dominated, study_file, tmp_path)
    view = StudyView(with_dominated)
    row = view.points().set_index("point").loc[5]
    assert (row.state, row.dominated_by, bool(row.on_front), bool(row.within_limits)) == (
        "dominated",
        1,
        False,
        True,
    )
    assert (row.l1, row["validation.l1"]) == (1.3, 1.2)
    assert row["validation.attacker_accuracy_at_least"] == 0.55
    for unknown in ("attacker_accuracy", "validation.attacker_accuracy", "attackers.soft"):
        assert row[unknown] != row[unknown], f"{unknown} of a clone that was not trained to its end"
    assert view.figures(view.ledger.points[5]) is None
    assert {member["point"] for member in view.front()["points"]} == {0, 1}


def test_status_counts_dominated_points_and_what_they_were_spared(with_dominated, study_file, tmp_path):
    change(with_dominated, study_file, tmp_path)
    status = status_of(StudyView(with_dominated))
    assert status["points"] == {
        "asked": 6, "finished": 4, "infeasible": 1,
        "stopped": 1, "dominated": 1, "excluded": 0, "failed": 1, "running": 0,
    }  # fmt: skip
    assert status["state"] == "finished"
    assert status["left_out"] == {"epochs": 5, "seconds": 10.0}  # 6 s for 3 epochs: 2 s each
    # what a concluded point made is read in the ledger, and counted though the store here is empty
    assert status["tasks"]["victim"] == {"done": 1, "reused": 0, "running": 0, "failed": 0}
    assert status["tasks"]["responses"] == {"done": 1, "reused": 1, "running": 0, "failed": 0}
    assert status["seconds"] == dict.fromkeys(status["seconds"], 0) | {
        "victim": 10.0, "responses": 0.5, "attacker": 6.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "dominated"),
        ({"limits": {"accuracy_drop": 0.01}}, "dominated"),  # as much as its dominator loses
        ({"limits": {"accuracy_drop": 0.009}}, "unfinished"),
        ({"search": {"stop": "none"}}, "unfinished"),
        ({"objectives": {"l1_queries": "min", "attacker_accuracy": "min"}}, "dominated"),
        ({"objectives": {"attacker_accuracy": "min"}}, "dominated"),
        ({"objectives": {"victim_accuracy": "max"}}, "unfinished"),  # equal, which is not better
        ({"attackers": {"soft": {}}}, "unfinished"),  # another plan
    ],
    ids=str,
)
def test_it_is_dominated_only_as_long_as_somebody_dominates_it(
    with_dominated, study_file, tmp_path, changes, state
):
    change(with_dominated, study_file, tmp_path, **changes)
    view = StudyView(with_dominated)
    assert view.points().set_index("point").state[5] == state
    assert status_of(view)["points"]["dominated"] == (state == "dominated")
    assert status_of(view)["state"] == ("finished" if state == "dominated" else "interrupted")


def test_it_is_dominated_by_whoever_dominates_it_today(with_dominated, study_file, tmp_path):
    # points 1 and 2 beat it, and point 1, who did when it was left, is beyond today's limit
    change(with_dominated, study_file, tmp_path, limits={"accuracy_drop": 0.009})
    ledger = StudyView(with_dominated).ledger
    writer = LedgerWriter(with_dominated / "ledger.jsonl")
    writer.concluded(5, Outcome(ledger.outcomes[5].plan, bounds=bounds(0.7), by=1))
    writer.close()
    row = StudyView(with_dominated).points().set_index("point").loc[5]
    assert (row.state, row.dominated_by) == ("dominated", 2)


def test_a_point_that_is_no_longer_dominated_has_the_figures_of_its_tasks_if_all_are_done(
    with_dominated, study_file, tmp_path
):
    change(with_dominated, study_file, tmp_path, search={"stop": "none"})
    view = StudyView(with_dominated)
    plan = view.planner.point(view.ledger.points[5])
    names = ("l1", "victim_accuracy", "accuracy_drop", "flip_rate")
    costs = {f"{part}.{name}": 0.125 for part in ("validation", "test") for name in names} | {"queries.l1": 0.5}
    clones = {f"{part}.clone_accuracy.best": 0.25 for part in ("validation", "test")}
    for tasks, metrics in ((plan.responses, costs), (plan.evaluations, clones)):
        for task in tasks.values():
            view.store.commit(task.stage, task.key, Artifact({}, metrics), recipe=task.recipe, provenance={})
    row = StudyView(with_dominated).points().set_index("point").loc[5]
    assert (row.state, row.l1, row.attacker_accuracy, bool(row.on_front)) == ("finished", 0.125, 0.25, False)


def test_the_last_run_that_ended_by_itself_is_told(with_dominated):
    assert status_of(StudyView(with_dominated))["last_run"] is None
    writer = LedgerWriter(with_dominated / "ledger.jsonl")
    writer.ended(RunSummary("one", startup=1.0, span=2.0, slots=1, busy=1.0))
    writer.ended(RunSummary("two", startup=6.0, span=80.0, slots=2, busy=120.0))
    writer.run("killed")
    writer.close()
    assert status_of(StudyView(with_dominated))["last_run"] == {
        "startup": 6.0, "span": 80.0, "slots": 2, "utilization": 0.75, "idle": {},
    }  # fmt: skip


def test_a_run_that_was_to_end_with_a_stage_is_finished_as_far_as_that(folder, capsys):
    writer = LedgerWriter(folder / "ledger.jsonl")
    writer.asked(Point(5, "emma", {"lambda": 0.3, "lr_gamma": 0.3, "st_epoch": 1}), {})
    writer.ended(RunSummary("one", startup=1.0, span=2.0, slots=1, busy=1.0, until="responses"))
    status = status_of(StudyView(folder))
    assert (status["state"], status["until"]) == ("stopped", "responses")
    show_status(status)
    assert capsys.readouterr().out.startswith("tiny: finished as far as responses; 6 points: 4 finished")
    (caution,) = (c.text for c in cautions_of(summary_of(StudyView(folder)), []) if c.kind == "unfinished")
    assert caution.startswith("The study is finished as far as responses: 1 of 6 points so far is not finished.")
    writer.run("two")  # and is killed
    status = status_of(StudyView(folder))
    assert (status["state"], status["until"]) == ("interrupted", None)
    with (folder / "ledger.jsonl").open("a") as file:  # as earlier versions wrote it
        file.write('{"event": "ended", "run": "two", "startup": 1, "span": 1, "slots": 1, "busy": 1}\n')
    assert status_of(StudyView(folder))["state"] == "interrupted"
    writer.close()


# --- each record and each measure once ------------------------------------------------------------------


def test_an_unfinished_point_is_read_once_for_all_tables_and_fronts(folder, monkeypatch):
    writer = LedgerWriter(folder / "ledger.jsonl")
    writer.asked(Point(5, "emma", {"lambda": 0.3, "lr_gamma": 0.3, "st_epoch": 1}), {})
    writer.close()
    view = StudyView(folder)
    read = []
    monkeypatch.setattr(Store, "record", lambda store, stage, key: read.append(key))
    for look in (view.points, view.front, view.references, view.counts, lambda: view.targets):
        look()
    assert len(read) == len(set(read)) > 0


def test_a_new_measure_is_in_every_table_and_description(folder, monkeypatch):
    monkeypatch.setitem(MEASURES, "entropy", replace(MEASURES["l1"], metric="{part}.entropy"))
    writer = LedgerWriter(folder / "ledger.jsonl")
    view = StudyView(folder)
    for number, (_, figures) in view.finished.items():
        more = {part: {**figures[part], "entropy": 0.25} for part in ("validation", "test")}
        writer.concluded(number, Outcome(view.planner.digest, figures=more))
    writer.close()
    view = StudyView(folder)
    table = view.points()
    assert list(table.entropy[:4]) == list(table["validation.entropy"][:4]) == [0.25] * 4
    for point in view.front()["points"]:
        assert point["entropy"] == point["validation"]["entropy"] == 0.25


# --- other studies ----------------------------------------------------------------------------------------


def test_conclusions_under_another_study_do_not_count(folder, study_file, tmp_path):
    study = load_study(study_file(attackers={"soft": {}}))
    StudyFolder(folder).write(Started(study, IMAGES, tmp_path / "runs" / "store"))
    view = StudyView(folder)
    assert view.front()["points"] == []
    assert status_of(view)["points"]["finished"] == 0


def test_a_folder_that_is_no_study_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"expected the folder of a study, found no study\.json"):
        StudyView(tmp_path)
