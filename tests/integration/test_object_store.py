"""A study whose folder and store lie in an object store, behind a real S3 server, on real Ray."""

from __future__ import annotations

import json
import os

import pytest

from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.storage import as_place, storage_at
from tests.conftest import kill_tree, wait_for
from tests.integration.faulty import begun

COMMITTED = "record.json"


def records(store) -> dict[str, bytes]:
    """Every record by its name."""
    storage = storage_at(store)
    found = {}
    for stage in storage.names(""):
        if stage in ("aside", "partial", "images", "weights", "identity"):
            continue
        for key in storage.names(stage):
            if storage.exists(f"{stage}/{key}/{COMMITTED}"):
                found[f"{stage}/{key}"] = storage.read(f"{stage}/{key}/{COMMITTED}")
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_killed_and_resumed_by_another_machine_it_loses_nothing(
    emma, faulty, study_file, bucket, tmp_path, monkeypatch
):
    file = study_file(baselines=["none"], search={"points": 1})
    folder = f"{bucket}/runs/tiny"
    store = as_place(f"{bucket}/runs/store")
    (tmp_path / "hold").touch()  # every clone waits until the driver is killed
    driver = faulty("Held", file, RUNS=f"{bucket}/runs")
    wait_for(lambda: driver.poll() is not None or any(entry["wrong"] for entry in begun(tmp_path)), what="a clone")
    # while it runs, others read it, and a second driver is turned away
    assert emma.json("status", folder)["state"] == "running"
    second = emma.here("resume", folder)
    assert second.exit_code == 2, second.output
    assert f"already running: process {driver.pid} on " in second.stderr
    kill_tree(driver.pid)
    driver.wait()
    before = records(store)

    # another machine has no copies of the images; the lease of the dead ends by itself
    monkeypatch.setenv("EMMA_TUNE_CACHE", str(tmp_path / "other-machine"))
    ended = emma("resume", folder, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"folder: {folder}" in ended.stdout
    after = records(store)
    assert 3 <= len(before) < len(after)
    assert {name: after.get(name) for name in before} == before

    view = StudyView(as_place(folder))
    assert view.problems == []
    assert status_of(view)["points"]["finished"] == 2
    planned = {
        f"{task.stage}/{task.key}"
        for point in view.ledger.points.values()
        for task in view.planner.point(point).tasks.values()
    }
    assert set(after) == planned
    for name in planned:
        assert view.store.check(*name.split("/"))
    assert {point["defense"] for point in emma.json("front", folder)["points"]} >= {"none"}
    # nothing of the study lies on this machine, and nothing under way is left in the bucket
    assert not (tmp_path / "runs").exists()
    assert storage_at(store).names("partial") == []
    assert storage_at(as_place(folder)).exists("optuna-journal.log")
    # secrets of the environment are in no object
    everything = b"".join(after.values()) + storage_at(as_place(folder)).read("study.json")
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in everything
    assert json.loads(storage_at(as_place(folder)).read("study.json"))["store"] == str(store)


def test_what_cannot_be_reached_is_said_before_anything_starts(emma, study_file, bucket, tmp_path):
    ended = emma("run", study_file(), "--out", "s3://no-such-bucket-here/runs/tiny")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "no-such-bucket-here" in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = emma("run", study_file(), "--out", f"{bucket.replace('s3://', 's3://key:secret@')}/runs/tiny")
    assert ended.returncode == 2
    said = " ".join(ended.stderr.replace("│", " ").split())  # in a frame, whose lines break anywhere
    assert "expected an address without a password" in said
    assert "secret@" not in ended.stderr
    ended = emma("run", study_file(), "--set", "store=gopher://hole")
    assert ended.returncode == 2
    assert "store" in ended.stderr
    assert not (tmp_path / "runs").exists()
