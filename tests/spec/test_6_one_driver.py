"""6. One study has one driver: a second is refused and told which process holds it."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for


@pytest.mark.usefixtures("one_core")
def test_a_second_driver_is_refused(emma, study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "tiny"
    file = study_file(victim={"epochs": 2000})
    driver = emma.start("run", file)
    wait_for(lambda: (folder / "progress.json").exists(), what="the first driver")
    before = (folder / "ledger.jsonl").read_bytes()
    for command in (("run", file), ("resume", folder)):
        second = emma.here(*command)
        assert second.exit_code == 2
        (line,) = second.stderr.splitlines()
        assert f"this study is already running: process {driver.pid} on " in line
    assert driver.poll() is None
    assert (folder / "ledger.jsonl").read_bytes() == before
    assert emma.json("status", folder)["state"] == "running"
    assert emma.json("status", folder)["points"]["running"] == 2
