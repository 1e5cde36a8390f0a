"""The head is killed and started again: the driver ends with a line, and the same command goes on."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for
from tests.faults.conftest import LONGER
from tests.faults.invariants import Witness, check_study, finished_tasks

SAFE = "finished tasks are saved, run the same command again to continue"


@pytest.mark.long
def test_a_head_that_is_killed_and_restarted_ends_the_driver_and_the_same_command_goes_on(
    machines, faulty, study_file, through, tmp_path
):
    cluster, file = machines(1, 1), study_file(**LONGER)
    output, store = tmp_path / "output.log", tmp_path / "runs" / "store"
    driver = faulty("Slow", file, cluster.address)
    witness = Witness(store)
    wait_for(lambda: witness.look() >= 3 and list(store.glob("partial/*/state.safetensors")), what="saved state")
    cluster.restart_head()
    assert driver.wait(timeout=240) == 1, output.read_text()
    assert output.read_text().splitlines()[-1].endswith(f"was restarted, and knows nothing of this run; {SAFE}")
    assert "Traceback" not in output.read_text()
    assert "StackTrace" not in output.read_text()
    for node in list(cluster.nodes):  # they would end by themselves, in a minute
        cluster.kill(node)
    before = witness.look()
    cluster.add(1)
    cluster.add(1)
    cluster.wait()
    again = faulty("Slow", file, cluster.address)
    assert again.wait(timeout=240) == 0, output.read_text()
    assert witness.look() > before
    check_study(tmp_path / "runs" / "tiny", through)


@pytest.mark.long
def test_a_head_that_stays_away_ends_the_driver_in_time(machines, emma, study_file, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "8")
    cluster, output = machines(1), tmp_path / "output.log"
    driver = emma.start("run", study_file(victim={"epochs": 2000}), "--address", cluster.address)
    wait_for(lambda: "running (victim " in output.read_text(), what="the victim's training")
    cluster.head.kill()
    assert driver.wait(timeout=240) == 1, output.read_text()
    assert f"does not answer; waiting 8 s for it; {SAFE}" in output.read_text()
    assert "rpc_client" not in output.read_text()  # Ray's own end, of another minute
    assert not finished_tasks(tmp_path / "runs" / "store")
