"""The storage goes and comes back, and something else is seen in its place meanwhile: it is waited for."""

from __future__ import annotations

import signal
import time

import pytest

from tests.conftest import wait_for, workers
from tests.faults.invariants import Witness, check_study
from tests.faults.mounts import needs_mounts, small_disk
from tests.faults.runs import LONG, ended_well, output, wait_for_artifacts, wait_until_said

WAITING = "waiting for the storage"


@pytest.mark.long
@needs_mounts
def test_a_run_waits_for_room_then_for_its_mount_and_writes_nothing_in_its_place(
    emma, study_file, tmp_path, through
):
    with small_disk(tmp_path, "16m") as disk:
        folder, store = disk.path / "runs" / "tiny", disk.path / "runs" / "store"
        attackers = {"soft": {"epochs": 25}, "hard": {"epochs": 25}}
        driver = emma.start("run", study_file(**{**LONG, "attackers": attackers}), "--out", folder)
        wait_for_artifacts(driver, store)
        witness = Witness(store)
        disk.fill()
        wait_until_said(emma, driver, WAITING)
        assert "No space left on device" in output(emma)
        witness.look()
        disk.clear()
        before = witness.look()
        wait_for(
            lambda: driver.poll() is not None or witness.look() > before, what="an artifact, once there is room"
        )
        disk.vanish()
        time.sleep(10)  # no line to wait for: it is new only if no worker has been waiting since the disk was full
        assert driver.poll() is None
        assert [path for path in disk.path.rglob("*") if path.is_file()] == []
        disk.come_back()
        ended_well(emma, driver)
        witness.look()
        check_study(folder, through)


@pytest.mark.long
def test_a_folder_that_is_moved_and_another_in_its_place(emma, study_file, tmp_path, through):
    runs = tmp_path / "runs"
    driver = emma.start("run", study_file(**LONG))
    wait_for_artifacts(driver, runs / "store")
    witness = Witness(runs / "store")
    witness.look()
    runs.rename(tmp_path / "elsewhere")
    wait_until_said(emma, driver, WAITING)
    (runs / "store").mkdir(parents=True)
    (runs / "tiny").mkdir()
    time.sleep(5)
    assert [path for path in runs.rglob("*") if path.is_file()] == []
    (runs / "store").rmdir()
    (runs / "tiny").rmdir()
    runs.rmdir()
    (tmp_path / "elsewhere").rename(runs)
    ended_well(emma, driver)
    witness.look()
    check_study(runs / "tiny", through)


@pytest.mark.long
@needs_mounts
def test_who_waits_can_be_interrupted(emma, study_file, tmp_path, through):
    with small_disk(tmp_path, "16m") as disk:
        folder, store = disk.path / "runs" / "tiny", disk.path / "runs" / "store"
        driver = emma.start("run", study_file(**LONG), "--out", folder)
        wait_for_artifacts(driver, store)
        witness = Witness(store)
        witness.look()
        disk.vanish()
        wait_until_said(emma, driver, WAITING)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=240) == 130, output(emma)
        assert not workers(driver.pid)
        disk.come_back()
        ended = emma("resume", folder, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        witness.look()
        check_study(folder, through)
