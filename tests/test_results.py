"""Points as people read them: seeds averaged, thieves at their worst, the front by validation figures."""

from __future__ import annotations

import pytest

from emma_tune.ledger import LedgerWriter
from emma_tune.pareto import hypervolume
from emma_tune.plan import Planner, Point
from emma_tune.results import StudyView, point_figures
from emma_tune.study_file import StudyError, load_study
from emma_tune.study_folder import Started, StudyFolder

IMAGES = {"victim": "v", "queries": "q"}


def test_the_worst_thief_is_taken_in_each_seed_and_then_the_mean(study_file):
    plan = Planner(load_study(study_file(seeds=[1, 2])), IMAGES).point(Point(0, "none"))
    clone = {(1, "soft"): 0.9, (1, "hard"): 0.5, (2, "soft"): 0.3, (2, "hard"): 0.7}
    by_key = {
        plan.evaluations[place].key: {
            "queries.l1": 0.5 * place[0],
            **{
                f"{part}.{name}": value + shift
                for part, shift in (("validation", 0.0), ("test", 0.01))
                for name, value in {
                    "l1": 0.2 * place[0],
                    "victim_accuracy": 0.9,
                    "accuracy_drop": 0.05,
                    "flip_rate": 0.1,
                    "clone_accuracy.best": accuracy,
                }.items()
            },
        }
        for place, accuracy in clone.items()
    }
    figures = point_figures(plan, lambda task: by_key[task.key])
    assert figures["validation"]["attacker_accuracy"] == pytest.approx((0.9 + 0.7) / 2)
    assert figures["validation"]["attackers"] == pytest.approx({"soft": 0.6, "hard": 0.6})
    assert figures["validation"]["l1"] == pytest.approx((0.2 + 0.4) / 2)
    assert figures["validation"]["l1_queries"] == pytest.approx((0.5 + 1.0) / 2)
    assert figures["test"]["attacker_accuracy"] == pytest.approx(0.81)
    missing = plan.evaluations[2, "hard"].key
    assert point_figures(plan, lambda task: None if task.key == missing else by_key[task.key]) is None


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
        writer.finished(
            number,
            plan=digest,
            figures={
                "validation": {"l1": l1, "attacker_accuracy": attacker, "accuracy_drop": drop, **common},
                "test": {"l1": test_l1, "attacker_accuracy": test_attacker, "accuracy_drop": 0.5, **common},
            },
        )
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
    status = StudyView(folder).status()
    assert status["points"] == {"asked": 5, "finished": 4, "failed": 1, "running": 0}
    assert status["failures"] == [{"point": 4, "reason": "matrix: ValueError: no"}]
    assert status["state"] == "finished"
    assert status["driver"] is None


def test_conclusions_under_another_study_do_not_count(folder, study_file, tmp_path):
    study = load_study(study_file(attackers={"soft": {}}))
    StudyFolder(folder).write(Started(study, IMAGES, tmp_path / "runs" / "store"))
    view = StudyView(folder)
    assert view.front()["points"] == []
    assert view.status()["points"]["finished"] == 0


def test_a_folder_that_is_no_study_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"expected the folder of a study, found no study\.json"):
        StudyView(tmp_path)
