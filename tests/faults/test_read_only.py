"""A store that cannot be written to: said before anything starts, waited for in the middle of a run."""

from __future__ import annotations

import pytest

from tests.faults.invariants import Witness, check_study, contents
from tests.faults.mounts import needs_mounts, small_disk
from tests.faults.runs import LONG, ended_well, output, wait_for_artifacts, wait_until_said

pytestmark = needs_mounts


def test_at_the_start_it_is_named_and_nothing_is_started(emma, study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with small_disk(tmp_path) as disk:
        disk.read_only()
        ended = emma.here("run", study_file(), "--out", disk.path / "runs" / "tiny")
        assert ended.exit_code == 2, ended.output
        assert f"{disk.path}/runs/tiny: expected a folder that can be read and written, found" in ended.stderr
        assert "Read-only file system" in ended.stderr

        ended = emma.here("run", study_file(store=str(disk.path / "store")))
        assert ended.exit_code == 2, ended.output
        assert f"{disk.path}/store: expected a place that can be written to, found" in ended.stderr
        assert "Read-only file system" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert set(contents(tmp_path / "runs" / "tiny")) <= {"driver.lock", "run.log"}
        assert contents(disk.path) == {}


@pytest.mark.long
def test_in_the_middle_it_is_waited_for(emma, study_file, tmp_path, through):
    with small_disk(tmp_path) as disk:
        store, folder = disk.path / "store", tmp_path / "runs" / "tiny"
        driver = emma.start("run", study_file(store=str(store), **LONG))
        wait_for_artifacts(driver, store)
        witness = Witness(store)
        witness.look()
        disk.read_only()
        wait_until_said(emma, driver, "waiting for the storage")
        assert "Read-only file system" in output(emma)
        disk.read_only(False)
        ended_well(emma, driver)
        witness.look()
        check_study(folder, through)
        # and who only reads wants nothing but to read
        disk.read_only()
        assert emma.json("status", folder)["state"] == "finished"
        assert emma.json("front", folder)["points"]
