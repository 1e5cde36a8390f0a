"""Workers that hang or eat memory fail their own point, with the reason, and hold up nothing else."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from emma_tune.storage.store import Store
from tests.conftest import wait_for, workers
from tests.integration.faulty import SEARCH, begun


@pytest.mark.slow
def test_a_stage_that_hangs_is_stopped_tried_again_and_fails_its_point_alone(faulty, emma, study_file, tmp_path):
    file = study_file(search=SEARCH, resources={"matrix": {"cpu": 1, "timeout_seconds": 4}})
    driver = faulty("Hanging", file)
    code = driver.wait(timeout=240)
    output = (tmp_path / "output.log").read_text()
    assert code == 3, output
    status = emma.json("status", tmp_path / "runs" / "tiny")
    assert status["points"] == {
        "asked": 4, "finished": 3, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 1, "running": 0,
    }  # fmt: skip
    late = "matrix: expected to end within 4 s (resources.matrix.timeout_seconds), still running; stopped"
    assert [failure["reason"] for failure in status["failures"]] == [f"{late} twice"]
    assert f"{late} once, and tried again" in output
    attempts = [entry for entry in begun(tmp_path) if entry["wrong"]]
    assert len({entry["pid"] for entry in attempts}) == len(attempts) == 2
    assert not any(psutil.pid_exists(entry["pid"]) for entry in attempts)


@pytest.mark.long
def test_an_epoch_that_takes_long_is_ended_and_saved_at_an_interruption(faulty, study_file, tmp_path):
    study = study_file(victim={"epochs": 10})
    driver = faulty("Long", study)
    store = Store(tmp_path / "runs" / "store")

    def saved() -> int:
        for path in store.root.glob("partial/*/state.safetensors"):
            state = store.load_state(path.parent.name)
            return state[0].epoch if state else 0
        return 0

    wait_for(lambda: saved() == 2, seconds=150, what="the second epoch of the victim")
    time.sleep(3)  # the driver hears how long it took; of the third more than Tune's ten seconds are left
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=240) == 130, (tmp_path / "output.log").read_text()
    assert saved() == 3


@pytest.mark.long
def test_a_stage_that_hangs_even_when_asked_to_save_does_not_hold_up_an_interruption(faulty, study_file, tmp_path):
    driver = faulty("Deaf", study_file(search=SEARCH))
    wait_for(lambda: any(entry["wrong"] for entry in begun(tmp_path)), seconds=120, what="the stage that hangs")
    time.sleep(2)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=240) == 130, (tmp_path / "output.log").read_text()
    assert not workers(driver.pid)


@pytest.mark.long
def test_a_task_that_eats_memory_fails_its_point_alone(faulty, emma, study_file, tmp_path):
    # what Ray and the workers take, half of what the task would like, and room for what others take meanwhile
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 2.8e9) / memory.total
    driver = faulty("Eating", study_file(search=SEARCH), RAY_memory_usage_threshold=f"{threshold:.4f}")
    code = driver.wait(timeout=400)
    output = (tmp_path / "output.log").read_text()
    assert code == 3, output
    status = emma.json("status", tmp_path / "runs" / "tiny")
    assert status["points"] == {
        "asked": 4, "finished": 3, "infeasible": 0,
        "stopped": 0, "dominated": 0, "excluded": 0, "failed": 1, "running": 0,
    }  # fmt: skip
    (failure,) = status["failures"]
    assert failure["reason"].startswith("matrix: its worker died repeatedly; the last time node ")
    assert "ran out of memory (" in failure["reason"]
