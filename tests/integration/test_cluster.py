"""On a cluster with (logical) GPUs, stages are placed by their fractional shares."""

from __future__ import annotations

import pytest
import ray
from ray.cluster_utils import Cluster

from emma_tune.study.file import load_study
from emma_tune.tuning.cluster.capacity import capacity_for
from emma_tune.tuning.ray_patches.connecting import cluster_id
from tests.conftest import wait_for, workers


@pytest.mark.long
def test_fractions_of_a_gpu_are_taken_and_given_back(emma, study_file, tmp_path):
    shares = {stage: {"cpu": 0.5, "gpu": 0.5} for stage in ("victim", "surrogate", "matrix", "attacker")}
    attackers = {"soft": {"epochs": 20}, "hard": {"epochs": 20}}
    file = study_file(resources=shares, attackers=attackers, baselines=["none"], search={"points": 1})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1})
    try:
        driver = emma.start("run", file, "--address", cluster.address)
        ray.init(address=cluster.address, logging_level="ERROR")
        # with four CPUs eight tasks of half a CPU would fit: it is the GPU that admits two at a time
        taken = set()

        def gpu_in_use() -> bool:
            taken.add(round(1 - ray.available_resources().get("GPU", 0.0), 3))
            return driver.poll() is not None

        wait_for(gpu_in_use, seconds=180, what="the study")
        assert driver.returncode == 0, (tmp_path / "output.log").read_text()
        assert taken <= {0.0, 0.5, 1.0}
        assert 1.0 in taken
        assert "gpu shares are ignored" not in (tmp_path / "output.log").read_text()
        assert emma.json("status", tmp_path / "runs" / "tiny")["points"]["finished"] == 2
        assert not workers(driver.pid)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.long
def test_gpus_that_join_late_are_used_and_waited_for_when_they_are_taken_away(study_file):
    study = load_study(
        study_file(resources={stage: {"gpu": 0.5} for stage in ("victim", "surrogate", "matrix", "attacker")})
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    try:
        assert cluster_id(cluster.address)
        assert cluster_id("127.0.0.1:1") == ""
        ray.init(address=cluster.address, logging_level="ERROR")
        assert (capacity_for(study).shares["victim"]["gpu"], capacity_for(study).slots) == (0.0, 4)
        node = cluster.add_node(num_cpus=2, num_gpus=1)
        cluster.wait_for_nodes()
        wait_for(lambda: capacity_for(study).gpus == 1, what="the GPU")
        assert (capacity_for(study).shares["victim"]["gpu"], capacity_for(study).slots) == (0.5, 2)
        cluster.remove_node(node)
        wait_for(lambda: capacity_for(study, had_gpus=True).gpus == 0, what="the end of its node")
        left = capacity_for(study, had_gpus=True)
        assert (left.shares["victim"]["gpu"], left.slots) == (0.5, 1)
    finally:
        ray.shutdown()
        cluster.shutdown()
