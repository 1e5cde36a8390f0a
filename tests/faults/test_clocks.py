"""Clocks that jump by days, forth and back, between runs and during one: nothing that counts goes by them."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from emma_tune.plan import Point
from emma_tune.results.ledger import LedgerWriter, read_ledger
from emma_tune.storage import HeldError, as_place, storage_at
from emma_tune.storage import lease as lease_module
from emma_tune.storage import objects as objects_module
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.storage import ABANDONED_AFTER
from emma_tune.storage.store import Store
from emma_tune.tuning.workers.trainable import StageTrainable
from tests.conftest import EmmaTune
from tests.faults.invariants import Witness, check_study, provenance
from tests.faults.runs import LONG, ROOT, ended_well, output, wait_for_artifacts

DAY = 24 * 3600.0
JUMPS = [-400 * DAY, -2 * DAY, -60.0, 60.0, 2 * DAY, 400 * DAY]
KEY = "0123456789abcdef0123"
ARTIFACT = Artifact({"weights": torch.linspace(0, 1, 100)}, {"accuracy": 0.5})


def dated(path: Path, jump: float) -> None:
    """A path as it would be, had the clock been wrong by `jump` seconds when it was written."""
    moment = time.time() + jump
    os.utime(path, (moment, moment))


@pytest.mark.parametrize("jump", JUMPS)
def test_what_counts_in_a_store_stays_whatever_its_date(tmp_path, jump):
    store = Store(tmp_path)
    store.commit("victim", KEY, ARTIFACT, recipe={}, provenance={})
    for path in [*tmp_path.rglob("*"), tmp_path]:
        dated(path, jump)
    store.storage.sweep()
    assert store.check("victim", KEY)
    assert store.commit("victim", KEY, ARTIFACT, recipe={}, provenance={}) is False


def test_what_is_being_written_is_not_swept_by_whose_clock_is_ahead(tmp_path, monkeypatch):
    store, writing = Store(tmp_path), tmp_path / "incoming" / ("0" * 32)
    writing.mkdir(parents=True)
    left = writing.with_name("1" * 32)
    left.mkdir()
    dated(left, -ABANDONED_AFTER - DAY)
    monkeypatch.setattr(time, "time", lambda: 2e9)  # the clock of this machine, not that of the disk
    store.storage.sweep()
    assert [path.name for path in writing.parent.iterdir()] == [writing.name]


def test_a_ledger_goes_by_the_order_of_its_lines(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    for number, jump in enumerate(JUMPS[::-1]):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        writer = LedgerWriter(path)
        writer.run(f"run {number}")
        writer.asked(Point(number, "none", {}), {})
        writer.close()
    found = read_ledger(path)
    assert list(found.points) == list(range(len(JUMPS)))
    assert found.runs == [f"run {number}" for number in range(len(JUMPS))]
    assert found.problems == []


@pytest.mark.parametrize("jump", JUMPS[1:5:3])
def test_a_lease_is_held_whatever_the_clock_of_who_wants_it(bucket, monkeypatch, jump):
    monkeypatch.setattr(lease_module, "LEASE", 2.0)
    monkeypatch.setattr(lease_module, "BEAT", 0.2)
    root, clock = as_place(bucket), time.time
    with storage_at(root).claim("driver.lock", "first", wait=0) as claim:
        monkeypatch.setattr(objects_module.time, "time", lambda: clock() + jump)
        with pytest.raises(HeldError, match="first"), storage_at(root).claim("driver.lock", "second", wait=0.5):
            pass
        assert not claim.lost()
    with storage_at(root).claim("driver.lock", "third", wait=0):
        pass


class Idle(StageTrainable):
    """A trial without a task."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)


@pytest.mark.parametrize("jump", [-2 * DAY, 2 * DAY])
def test_what_a_trial_reports_of_its_time_is_not_of_a_clock_that_jumps(tmp_path, monkeypatch, jump):
    config = {"tasks": [], "store": Store(tmp_path).to_json(), "run": "", "share": {"cpu": 1, "gpu": 0}}
    trial = Idle({**config, "interval": 1.0})
    clock = itertools.count(1.7e9, jump)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert 0 <= trial.train()["time_this_iter_s"] < DAY


# --- whole runs -------------------------------------------------------------------------------------------


class Elsewhen(EmmaTune):
    """The command line with a wall clock that a test sets: of Python, in the driver and in all its workers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._clock = folder / "clock"

    def jump(self, days: float) -> None:
        """From now on clocks are wrong by so many days."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(str(days * DAY))
        beside.replace(self._clock)

    def _environment(self) -> dict[str, str]:  # type: ignore[override]
        paths = f"{ROOT / 'tests' / 'faults' / 'elsewhen'}{os.pathsep}{ROOT}"
        return {**super()._environment(), "PYTHONPATH": paths, "EMMA_TUNE_TEST_CLOCK": str(self._clock)}


@pytest.mark.long
def test_a_run_whose_clocks_jump_is_interrupted_and_goes_on_in_another_year(study_file, tmp_path, through):
    emma = Elsewhen(tmp_path)
    file, folder, store = study_file(**LONG), tmp_path / "runs" / "tiny", tmp_path / "runs" / "store"
    try:
        driver = emma.start("run", file)
        wait_for_artifacts(driver, store, 2)
        witness = Witness(store)
        witness.look()
        emma.jump(-3)
        wait_for_artifacts(driver, store, 4)
        witness.look()
        emma.jump(+5)
        wait_for_artifacts(driver, store, 6)
        driver.terminate()
        assert driver.wait(timeout=240) == 130, output(emma)
        witness.look()
        emma.jump(-400)
        ended_well(emma, emma.start("resume", folder))
        witness.look()
    finally:
        emma.end_all()
    view = check_study(folder, through)
    days = {round((about["finished_at"] - time.time()) / DAY) for about in provenance(view).values()}
    assert {0, -400} < days, f"the clocks did not jump: {days}"
    print(f"artifacts finished in days {sorted(days)}, counted from today")
