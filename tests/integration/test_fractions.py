"""On a cluster with a (logical) GPU and a fake meter of its memory: shares are measured, packed and enlarged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ray.cluster_utils import Cluster

from tests.integration.faulty import SEARCH, begun


@pytest.fixture
def address() -> Iterator[str]:
    """Of a cluster with four cores and a GPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1})
    yield cluster.address
    cluster.shutdown()


@pytest.mark.long
def test_resources_auto_measures_the_first_task_and_packs_the_rest(faulty, emma, study_file, tmp_path, address):
    file = study_file(search={**SEARCH, "points": 1}, resources="auto", attackers={"soft": {}, "hard": {}})
    assert faulty("OnFakeGpu", file, address).wait(timeout=240) == 0, (tmp_path / "output.log").read_text()
    output = (tmp_path / "output.log").read_text()
    # (1.25 · 1.5 + 0.5) / 16 = 1 / 6.7 and (1.25 · 5 + 0.5) / 16 = 1 / 2.4
    assert output.count("attacker: peak 1.5 GiB of 16.0 GiB, 6 tasks to a GPU") == 1
    assert "matrix: peak 5.0 GiB of 16.0 GiB, 2 tasks to a GPU" in output
    shares = [round(entry["gpu"], 3) for entry in begun(tmp_path) if entry["stage"] == "attacker"]
    assert shares == [1.0] + 5 * [round(1 / 6, 3)]
    assert emma.json("status", tmp_path / "runs" / "tiny")["points"]["finished"] == 3

    # a run that goes on knows it from the records
    before = len(begun(tmp_path))
    file = study_file(search=SEARCH, resources="auto", attackers={"soft": {}, "hard": {}})
    assert faulty("OnFakeGpu", file, address).wait(timeout=240) == 0, (tmp_path / "output.log").read_text()
    later = begun(tmp_path)[before:]
    assert {round(entry["gpu"], 3) for entry in later if entry["stage"] == "attacker"} == {round(1 / 6, 3)}


@pytest.mark.long
def test_out_of_memory_is_tried_at_a_larger_share_then_fails_its_point_with_the_sizes(
    faulty, emma, study_file, tmp_path, address
):
    shares = {stage: {"cpu": 1, "gpu": 0.25} for stage in ("victim", "surrogate", "matrix", "attacker")}
    file = study_file(search=SEARCH, resources=shares)
    code = faulty("OnFakeGpu", file, address).wait(timeout=240)
    output = (tmp_path / "output.log").read_text()
    assert code == 3, output
    small = "with 0.25 of a GPU: asked for {} GiB, 3.5 GiB allowed, 0 MiB held at most, 16.0 GiB on the GPU"
    half = "with 0.5 of a GPU: asked for 9 GiB, 7.5 GiB allowed, 0 MiB held at most, 16.0 GiB on the GPU"
    for asked in (5, 9):
        assert f"matrix: out of memory {small.format(asked)}; tried once more with 0.5" in output
    status = emma.json("status", tmp_path / "runs" / "tiny")
    assert (status["points"]["finished"], status["points"]["failed"]) == (3, 1)
    assert [failure["reason"] for failure in status["failures"]] == [
        f"matrix: out of memory {half}; before, {small.format(9)}"
    ]
    matrices = [(entry["wrong"], entry["gpu"]) for entry in begun(tmp_path) if entry["stage"] == "matrix"]
    assert sorted(matrices) == [(False, 0.25), (False, 0.5), (True, 0.25), (True, 0.5)]
