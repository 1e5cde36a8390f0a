"""On real Ray: points are confirmed with fresh seeds on the same victims; an interrupted confirmation goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from emma_tune.results import StudyView
from emma_tune.results.folder import StudyFolder
from emma_tune.results.ledger import read_ledger
from emma_tune.results.status import status_of
from tests.conftest import artifact_bytes, kill_tree, wait_for

EPOCHS = 40
"""Of a clone: about a second, so that the confirmation is killed before its end."""


def outside_the_confirmation(folder: Path) -> dict[str, str]:
    """Every file of the searched study but those of its confirmation, by the hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and "confirmation" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def artifacts(store: Path) -> dict[str, list[str]]:
    """Keys of finished artifacts, by stage."""
    found: dict[str, list[str]] = {}
    for record in sorted(store.glob("*/*/record.json")):
        if record.parent.parent.name == "incoming":
            continue  # killed while it was committed
        found.setdefault(record.parent.parent.name, []).append(record.parent.name)
    return found


@pytest.mark.long  # that a confirmation runs: repository/test_readmes.py
def test_points_are_confirmed_on_the_same_victim_however_often_one_is_interrupted(emma, study_file, tmp_path):
    file = study_file(
        attackers={"soft": {"epochs": EPOCHS}},
        baselines=["none"],
        search={"points": 1, "space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 0}},
    )
    ended = emma("run", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder, store = tmp_path / "runs" / "tiny", tmp_path / "runs" / "store"
    again = folder / "confirmation"
    searched, before = outside_the_confirmation(folder), artifacts(store)
    assert {"study.json", "ledger.jsonl"} <= searched.keys()

    # what is not there is refused before anything starts
    ended = emma("confirm", folder, "--points", "99")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [f"{folder}: expected a point of the study, found no point 99"]
    assert not again.exists()

    # killed, when one clone of several is finished
    driver = emma.start("confirm", folder, "--points", "0,1", "--repeats", "2")
    wait_for(
        lambda: len(artifacts(store)["attacker"]) > len(before["attacker"]) or driver.poll() is not None,
        what="a clone with a fresh seed",
    )
    kill_tree(driver.pid)
    driver.wait()
    output = (tmp_path / "output.log").read_text()
    assert driver.returncode < 0, output
    planned = StudyView(again).planner
    points = StudyView(folder).ledger.points
    half = artifacts(store)
    killed = artifact_bytes(store)

    # the same command goes on: one JSON object, and nothing that was finished is computed again or proposed
    ended = emma("confirm", folder, "--points", "0,1", "--repeats", "2", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = json.loads(ended.stdout)
    assert list(read_ledger(again / "ledger.jsonl").points) == [0, 1]
    assert StudyFolder(again).read().given
    assert not (again / "optuna-journal.log").exists()
    after = artifact_bytes(store)
    assert {path: after.get(path) for path in killed} == killed

    # fresh seeds for all but the victim and its clean answers
    whole = artifacts(store)
    assert half != whole, "killed too late: the study is too short"
    assert whole["victim"] == before["victim"]
    assert whole["posteriors"] == before["posteriors"]
    new = {stage: set(keys) - set(before.get(stage, ())) for stage, keys in whole.items()}
    wanted = {task.key for point in points.values() for task in planned.point(point).tasks.values()}
    assert set().union(*new.values()) == wanted - set().union(*before.values())
    assert {stage: len(keys) for stage, keys in new.items() if keys} == {
        "surrogate": 2, "matrix": 2, "responses": 2, "attacker": 4, "evaluation": 4,
    }  # fmt: skip
    assert not planned.runs.keys() & StudyView(folder).planner.runs.keys()

    # what is told are means over these runs
    assert [(point["point"], point["defense"], point["state"]) for point in content["points"]] == [
        (0, "none", "finished"),
        (1, "emma", "finished"),
    ]
    assert content["repeats"] == 2
    view = StudyView(folder)
    members = {point.number for point, _ in view.members()}
    for point in content["points"]:
        accuracies = []
        for task in planned.point(points[point["point"]]).evaluations.values():
            record = json.loads((store / "evaluation" / task.key / "record.json").read_text())
            accuracies.append(record["metrics"]["test.clone_accuracy.best"])
        measured = point["measures"]["attacker_accuracy"]
        assert measured["mean"] == pytest.approx(sum(accuracies) / 2)
        assert measured["searched"] == view.figures(points[point["point"]])["test"]["attacker_accuracy"]
        assert measured["count"] == 2
        assert point["on_front"] == (point["point"] in members)

    # the searched study is as it was, byte for byte
    assert outside_the_confirmation(folder) == searched
    status = status_of(StudyView(again))
    assert (status["state"], status["points"]["finished"]) == ("finished", 2)
