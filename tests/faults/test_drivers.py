"""Drivers that race for one study, and drivers killed on a cluster that lives on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emma_tune.storage import as_place, storage_at
from tests.conftest import kill_tree, wait_for
from tests.faults.conftest import LONGER
from tests.faults.invariants import Witness, check_study
from tests.integration.faulty import begun


@pytest.mark.slow
def test_of_two_drivers_that_start_at_the_same_moment_one_drives(emma, study_file, tmp_path, chance):
    race(emma, study_file(victim={"epochs": 2000}), tmp_path / "runs" / "tiny", seconds=chance.uniform(0, 4))


@pytest.mark.long
def test_of_two_drivers_of_a_study_in_a_bucket_one_drives(emma, study_file, bucket, chance):
    file = study_file(victim={"epochs": 2000})
    for number in range(2):
        race(emma, file, as_place(f"{bucket}/runs/tiny-{number}"), seconds=chance.uniform(0, 4))


def race(emma, file, folder, *, seconds: float) -> None:
    """Starts two drivers; whoever is turned away names the other, who goes on and has a ledger of its own."""
    log = emma.folder / "output.log"
    log.write_text("")
    pair = [emma.start("run", file, "--out", folder) for _ in range(2)]
    wait_for(lambda: any(driver.poll() is not None for driver in pair), what="the one that is turned away")
    (loser,) = (driver for driver in pair if driver.poll() is not None)
    (winner,) = (driver for driver in pair if driver is not loser)
    assert loser.returncode == 2, log.read_text()
    assert f"already running: process {winner.pid} on " in log.read_text()
    wait_for(lambda: winner.poll() is not None or ran(folder), what="the winner's ledger")
    try:
        assert winner.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        assert f"process {winner.pid} on " in (storage_at(folder).holder("driver.lock") or "")
    finally:
        kill_tree(winner.pid)
        winner.wait()
    assert ran(folder) == 1


def ran(folder) -> int:
    """How many runs a ledger tells of."""
    return storage_at(folder).read_log("ledger.jsonl").count(b'"event": "run"')


@pytest.mark.long
def test_a_driver_killed_again_and_again_meets_its_ghosts_and_nothing_is_damaged(
    machines, faulty, study_file, through, tmp_path, chance
):
    cluster, file = machines(1, 1), study_file(**LONGER)
    store, output = tmp_path / "runs" / "store", tmp_path / "output.log"
    witness = Witness(store)
    for _ in range(3):
        driver = faulty("Slow", file, cluster.address)
        known = len(begun(tmp_path))
        wait_for(lambda known=known: len(begun(tmp_path)) > known, seconds=180, what="a task")
        try:
            driver.wait(timeout=chance.uniform(1, 8))
        except subprocess.TimeoutExpired:
            driver.kill()  # the driver alone: its workers are the cluster's
            driver.wait()
        witness.look()
    driver = faulty("Slow", file, cluster.address)
    assert driver.wait(timeout=300) == 0, output.read_text()
    witness.look()
    check_study(tmp_path / "runs" / "tiny", through)
    check_nothing_begun_that_was_finished(tmp_path, store)


def check_nothing_begun_that_was_finished(folder: Path, store: Path) -> None:
    for entry in begun(folder):
        finished = store / entry["stage"] / entry["task"]
        assert entry["time"] <= finished.stat().st_ctime, f"begun after it was finished: {entry}"
