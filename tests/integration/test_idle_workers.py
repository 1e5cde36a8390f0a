"""On real Ray: a worker that dies while it waits for its next trial costs nobody anything."""

from __future__ import annotations

import psutil
import pytest

from tests.conftest import wait_for
from tests.integration.faulty import begun


@pytest.mark.long
def test_the_trial_that_would_have_had_it_gets_another(emma, faulty, study_file, tmp_path):
    file = study_file(
        defense={"epochs": 45, "min_change": 0},
        attackers={"soft": {"epochs": 15}, "hard": {"epochs": 15}},
        baselines=["none"],
        search={"points": 1, "space": {"lambda": 0.1, "lr_gamma": 0.3, "st_epoch": 0}},
    )
    driver = faulty("Slow", file)
    store = tmp_path / "runs" / "store"

    def idle() -> int | None:
        """The worker that has done all there is to do beside the matrix."""
        by_stage = {entry["stage"]: entry["pid"] for entry in begun(tmp_path)}
        others = {entry["pid"] for entry in begun(tmp_path)} - {by_stage.get("matrix")}
        done = len(list(store.glob("evaluation/*/record.json"))) == 2
        return others.pop() if done and "matrix" in by_stage and len(others) == 1 else None

    pid = wait_for(lambda: driver.poll() is not None or idle(), what="a worker with nothing to do")
    output = tmp_path / "output.log"
    assert driver.poll() is None, output.read_text()
    assert not list(store.glob("matrix/*/record.json")), "too late: the matrix is finished"
    psutil.Process(pid).kill()
    assert driver.wait(timeout=180) == 0, output.read_text()
    points = emma.json("status", tmp_path / "runs" / "tiny")["points"]
    assert (points["finished"], points["failed"]) == (2, 0)
