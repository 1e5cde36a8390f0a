"""5. Every point ends finished or failed with its reason; none is left under way when a run ends by itself."""

from __future__ import annotations

import json

import psutil
import pytest

from tests.conftest import wait_for, workers


@pytest.mark.usefixtures("one_core")
def test_a_task_that_raises_is_retried_once_and_fails_its_point_alone(emma, study_file, tmp_path):
    # a step size beyond single precision makes T not a number
    space = {"lambda": 0.1, "lr_gamma": {"choices": [0.3, 1.0e300]}, "st_epoch": 0}
    few = {"attackers": {"soft": {}}, "baselines": ["none"]}
    file = study_file(**few, search={"points": 2, "sampler": "grid", "space": space})
    folder, store = tmp_path / "runs" / "tiny", tmp_path / "runs" / "store"
    ended = emma("run", file)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    status = emma.json("status", folder)
    assert status["points"] == {
        "asked": 3, "finished": 2, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 1, "running": 0,
    }  # fmt: skip
    (failure,) = status["failures"]
    assert "matrix: FloatingPointError: matrix: expected finite entries of T" in failure["reason"]
    assert status["tasks"]["matrix"] == {"done": 1, "reused": 0, "running": 0, "failed": 1}
    assert f"point {failure['point']} failed: matrix: FloatingPointError" in ended.stdout
    assert failure["reason"] in emma.here("status", folder).stdout.replace("\n", " ")
    told = (folder / "run.log").read_text()
    assert f"{failure['reason']}\n    Traceback (most recent call last):" in told
    assert 'emma_tune/stages/matrix.py", line ' in told
    (noted,) = store.glob("partial/*/failure.json")
    assert json.loads(noted.read_text())["count"] == 2

    # every number on the front is a number
    text = emma.here("front", folder, "--json").stdout
    assert "NaN" not in text
    assert "Infinity" not in text

    # again: only the failed point is tried again, and fails again
    assert emma("run", file).returncode == 3
    again = emma.json("status", folder)
    assert again["points"] == status["points"]
    assert all(row["done"] == row["reused"] for row in again["tasks"].values())


@pytest.mark.usefixtures("one_core")
def test_a_victim_that_fails_fails_every_point(emma, study_file, tmp_path):
    ended = emma("run", study_file(victim={"lr": 1.0e30}))
    assert ended.returncode == 3, ended.stdout + ended.stderr
    status = emma.json("status", tmp_path / "runs" / "tiny")
    assert status["points"] == {
        "asked": 2, "finished": 0, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 2, "running": 0,
    }  # fmt: skip
    assert "victim: FloatingPointError: victim: expected a finite loss" in status["failures"][0]["reason"]


@pytest.mark.long
def test_the_run_goes_on_by_itself_when_workers_are_killed(emma, study_file, tmp_path):
    attackers = {"soft": {"epochs": 12}, "inverse": {"epochs": 12, "when": "front"}}
    file = study_file(victim={"epochs": 40}, surrogate={"epochs": 2}, attackers=attackers, baselines=["none"])
    driver = emma.start("run", file)
    killed = 0
    while driver.poll() is None and killed < 3:
        wait_for(lambda: driver.poll() is not None or workers(driver.pid), what="a worker")
        for worker in workers(driver.pid)[:1]:
            try:
                psutil.wait_procs([worker], timeout=2.0)  # let it work a while
                worker.kill()
                killed += 1
            except psutil.NoSuchProcess:
                continue
    assert killed == 3
    assert driver.wait(timeout=240) == 0, (tmp_path / "output.log").read_text()
    status = emma.json("status", tmp_path / "runs" / "tiny")
    assert status["state"] == "finished"
    emma_front = emma.json("front", tmp_path / "runs" / "tiny")["fronts"]["emma"]
    assert emma_front["reached"]["inverse"]["points"] == len(emma_front["points"]) > 0
    assert status["points"] == {
        "asked": 3, "finished": 3, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 0, "running": 0,
    }  # fmt: skip
