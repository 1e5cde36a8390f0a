"""Nodes are killed, fall silent, and join late: the study goes on on those that are there."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for
from tests.faults.conftest import LONGER
from tests.faults.invariants import Witness, check_study
from tests.integration.faulty import SEARCH, begun


@pytest.mark.long
def test_a_node_that_joins_late_is_used_and_takes_over_from_one_that_is_killed(
    machines, faulty, study_file, through, tmp_path
):
    cluster = machines(1)
    (first,) = cluster.nodes
    driver = faulty("Slow", study_file(**LONGER), cluster.address)
    witness = Witness(tmp_path / "runs" / "store")
    wait_for(lambda: witness.look() >= 3, what="the groundwork on the first node")
    late = cluster.add(1)
    wait_for(lambda: running(late, tmp_path), what="a task on the node that joined late")
    wait_for(lambda: running(first, tmp_path), what="a task on the first node")
    before = witness.look()
    cluster.kill(first)
    wait_for(lambda: driver.poll() is not None or witness.look() > before, what="an artifact after the kill")
    output = tmp_path / "output.log"
    assert driver.wait(timeout=180) == 0, output.read_text()
    witness.look()
    check_study(tmp_path / "runs" / "tiny", through)
    told = output.read_text()
    assert "nodes: 3, before 2; 2 trials at once" in told  # the head is one of them
    assert "nodes: 2, before 3; 1 trials at once" in told


@pytest.mark.long
def test_a_node_that_falls_silent_and_comes_back_damages_nothing(machines, faulty, study_file, through, tmp_path):
    cluster = machines(1, 1)
    driver = faulty("Slow", study_file(**LONGER), cluster.address)
    witness = Witness(tmp_path / "runs" / "store")
    wait_for(lambda: witness.look() >= 4, what="four artifacts")
    silent = cluster.nodes[0]
    silent.freeze()
    wait_for(lambda: silent.ip not in cluster.joined(), seconds=40, what="Ray to give the silent node up")
    wait_for(lambda: driver.poll() is not None or witness.look() >= 6, what="artifacts of the other node")
    silent.thaw()  # its workers go on with what others have taken over, until its end
    assert driver.wait(timeout=240) == 0, (tmp_path / "output.log").read_text()
    wait_for(lambda: not silent.workers(), what="the end of its workers")
    witness.look()
    check_study(tmp_path / "runs" / "tiny", through)


@pytest.mark.long
def test_a_stage_that_hangs_on_one_of_several_nodes_fails_its_point_alone(
    machines, faulty, study_file, through, tmp_path
):
    cluster = machines(1, 1)
    file = study_file(search=SEARCH, resources={"matrix": {"cpu": 1, "timeout_seconds": 5}})
    driver = faulty("Hanging", file, cluster.address)
    assert driver.wait(timeout=240) == 3, (tmp_path / "output.log").read_text()
    (wrong,) = {entry["task"] for entry in begun(tmp_path) if entry["wrong"]}
    assert wrong
    view = check_study(tmp_path / "runs" / "tiny", through, failed=[3])
    assert "matrix: expected to end within 5 s" in view.outcomes[3].reason


def running(node, folder) -> bool:
    """Whether a stage has begun on a node."""
    pids = {process.pid for process in node.processes()}
    return any(entry["pid"] in pids for entry in begun(folder))
