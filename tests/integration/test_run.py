"""A study from its file to its front on real Ray; then extended, shared, resumed and read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from emma_tune.results import StudyView
from emma_tune.study.file import load_study
from tests.conftest import TINY, EmmaTune, artifact_bytes, determined


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A finished tiny study, for copies."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
    ended = EmmaTune(folder)("run", folder / "tiny.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, ended


@pytest.fixture
def finished(once, tmp_path):
    """A finished tiny study: its file, its folder, its store."""
    folder, ended = once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiny.yaml", tmp_path / "runs" / "tiny", tmp_path / "runs" / "store", ended


def made(status: dict) -> dict[str, int]:
    """Tasks of each stage that the last run computed itself."""
    return {stage: row["done"] - row["reused"] for stage, row in status["tasks"].items() if row["done"]}


ALL = {"victim": 1, "posteriors": 1, "matrix": 2, "responses": 4, "attacker": 8, "evaluation": 8}


@pytest.mark.usefixtures("one_core")  # of the runs after the first one
def test_from_file_to_front_and_on(finished, emma, study_file, tmp_path):
    _, folder, store, ended = finished

    # plain lines without a terminal, a table of the front, and where it lies
    assert "\x1b" not in ended.stdout
    assert "points 0 of 4" in ended.stdout
    assert "tiny: fronts; test figures" in ended.stdout
    assert "folder: runs/tiny" in ended.stdout
    assert ended.stdout.startswith("tiny: 4 points (emma and 2 baselines), attackers soft, hard; ")
    check_what_is_left_for_people(folder, ended.stdout, emma)

    status = emma.json("status", folder)
    assert status["state"] == "finished"
    assert status["points"] == {
        "asked": 4, "finished": 4, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 0, "running": 0,
    }  # fmt: skip
    done = made(status)
    assert done.pop("surrogate") in (1, 2)
    assert done == ALL
    assert all(row["reused"] == row["running"] == row["failed"] == 0 for row in status["tasks"].values())
    assert status["seconds"]["attacker"] > 0
    assert status["left_out"] == {"epochs": 0, "seconds": 0.0}
    assert status["last_run"]["slots"] >= 1
    assert 0 < status["last_run"]["utilization"] <= 1
    assert set(status["last_run"]["idle"]) <= {"victims", "proposals", "end", "between"}
    assert status["last_run"]["startup"] > 0
    assert "last run: " in ended.stdout

    front = emma.json("front", folder)
    assert front["study"] == "tiny"
    assert set(front["objectives"]) == {"l1", "attacker_accuracy"}
    none = next(point for point in front["points"] if point["defense"] == "none")  # l1 0: nothing dominates it
    assert none["l1"] == none["accuracy_drop"] == 0
    assert set(none["attackers"]) == {"soft", "hard"}
    assert none["attacker_accuracy"] == max(none["attackers"].values())
    assert {"l1", "victim_accuracy", "attacker_accuracy", "attackers"} <= set(none["validation"])
    table = emma.here("front", folder, "--csv").stdout.splitlines()
    assert table[0].startswith("point,defense,state")
    assert len(table) == 1 + len(front["fronts"]["emma"]["points"]) + len(front["references"])
    assert {point["defense"] for point in front["references"]} == {"none", "argmax"}
    low, high = none["intervals"]["attacker_accuracy"]  # 400 test images
    assert 0 <= low <= none["attacker_accuracy"] <= high <= 1
    assert 0.0 < high - low < 0.1

    storage = JournalStorage(JournalFileBackend(str(folder / "optuna-journal.log")))
    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2

    before = artifact_bytes(store)

    # again, from the file that is left beside the results: nothing runs, nothing changes; a page that cannot be
    # written is reported, and the run is no worse
    page = folder / "report.html"
    page.unlink()
    page.mkdir()
    ended = emma("run", folder / "study.yaml", "--out", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == f"{page} could not be written: --out: expected a file, found the folder {page}\n"
    assert (folder / "front.csv").exists()
    assert (folder / "run.log").read_text().count(" run of tiny: process ") == 2
    assert sum(made(emma.json("status", folder)).values()) == 0
    assert artifact_bytes(store) == before
    page.rmdir()

    wrong = emma.here("resume", folder, "--set", "search.pionts=3")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == (
        "--set search.pionts=3: search.pionts: expected a known key (did you mean points?), found 'pionts'\n"
    )

    # resumed with a point more, new attackers, another sampler, another seed: only what is new runs
    changes = (
        "attackers.inverse={when: front, epochs: 1}",
        "search.points=+1",
        "search.sampler=qmc",
        "attackers.late={kind: soft, epochs: 1}",
        "seeds=[3407, 1]",
    )
    ended = emma("resume", folder, *(word for change in changes for word in ("--set", change)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    status = emma.json("status", folder)
    new = made(status)
    assert new.pop("surrogate") <= 1 + 2
    # for the old seed what the point and the attackers add, for the new one everything
    front = emma.json("front", folder)
    members = front["fronts"]["emma"]["points"]
    attacked = 2 * len(members)  # by inverse, of each seed
    assert new == {
        "victim": 1,
        "posteriors": 1,
        "matrix": 1 + 3,
        "responses": 1 + 5,
        "attacker": (4 + 3) + 5 * 3 + attacked,
        "evaluation": (4 + 3) + 5 * 3 + attacked,
    }
    assert status["points"]["finished"] == 5
    assert all(set(point["attackers"]) == {"soft", "hard", "late", "inverse"} for point in members)
    assert all(set(point["attackers"]) == {"soft", "hard", "late"} for point in front["references"])
    assert "attackers.late" in (folder / "front.csv").read_text().splitlines()[0]
    assert load_study(folder / "study.yaml").search.points == 3

    # shared: a second study with the same victim trains no victim
    second = study_file(
        name="second", search={"points": 1, "space": {"lambda": 0.02, "lr_gamma": 0.2, "st_epoch": 0}}
    )
    assert emma("run", second).returncode == 0
    new = made(emma.json("status", tmp_path / "runs" / "second"))
    assert (new["victim"], new["posteriors"], new["matrix"]) == (0, 0, 1)
    assert new["attacker"] == 2  # of its own point; those of the baselines are the first study's

    # whatever happened, what was there before is there still, byte for byte
    after = artifact_bytes(store)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.usefixtures("one_core")
def test_files_are_what_they_should_be_and_damage_is_repaired_and_reported(finished, emma):
    file, folder, store, _ = finished
    check_files(folder, store)
    view = StudyView(folder)
    before = view.front()
    tensors = next(store.glob("matrix/*/tensors.safetensors"))
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if json.loads(line)["event"] == "finished")
    point = view.ledger.points[json.loads(lines[last])["point"]]
    attacker = view.planner.point(point).attackers[3407, "soft"]
    record = store / "attacker" / attacker.key / "record.json"
    kept = determined(tensors.parent), determined(record.parent)
    tensors.write_bytes(tensors.read_bytes()[:-10])
    record.write_text(record.read_text()[:100])
    # the ledger is torn in the last conclusion: of the others `status` believes what the ledger says
    ledger.write_bytes(b"".join(lines[: last + 1])[:-20])

    status = emma.here("status", folder)
    assert status.exit_code == 0
    assert "ledger.jsonl, line" in status.stderr
    assert "record.json: expected a complete record" in status.stderr

    ended = emma("run", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("corrupt artifact, recomputing it") == 2
    assert str(tensors) in ended.stdout
    assert "ledger.jsonl, line" in ended.stdout
    assert (determined(tensors.parent), determined(record.parent)) == kept
    assert StudyView(folder).front() == before
    assert emma.json("status", folder)["problems"] == []


def check_what_is_left_for_people(folder: Path, said: str, emma: EmmaTune) -> None:
    for name in ("study.yaml", "front.csv", "tradeoff.png", "report.html", "run.log"):
        assert f"  {name} " in said.partition("folder: ")[2]
    assert (folder / "front.csv").read_text() == emma.here("front", folder, "--csv").stdout
    assert "<html" in (folder / "report.html").read_text()
    told = (folder / "run.log").read_text()
    assert told.count(" run of tiny: process ") == 1
    assert "ended · points 4 of 4" in told
    assert load_study(folder / "study.yaml").model_copy(update={"store": None}) == StudyView(folder).study
    assert json.loads((folder / "progress.json").read_text())["tasks"] == []


def check_files(folder: Path, store: Path) -> None:
    record = json.loads(next(store.glob("attacker/*/record.json")).read_text())
    assert record["recipe"]["stage"] == "attacker"
    assert record["provenance"]["threads"] == 1
    assert {"seconds", "host", "run", "versions", "device"} <= set(record["provenance"])
    assert len(record["history"]) == 2
    for path in [*folder.rglob("*"), *store.rglob("*")]:
        if path.is_file():
            assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth")
            assert path.read_bytes()[:1] != b"\x80", f"{path} is a pickle"
