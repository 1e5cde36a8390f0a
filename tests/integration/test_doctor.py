"""A real cluster of which one node has another disk where the store should be: doctor names it, a run refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.conftest import kill_tree, wait_for

NODE = """
mount -t tmpfs tmpfs "$1" && mkdir "$1/runs" &&
exec "$2" -m ray.scripts.scripts start --address "$3" --num-cpus 1 --block --disable-usage-stats
"""
"""A node that sees an empty disk of its own at a path."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield cluster
    cluster.shutdown()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="a node with a disk of its own is made by mounting one")
def test_a_node_that_sees_another_storage_is_named(emma, study_file, cluster, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    sound = emma("doctor", "--address", cluster.address, "--out", shared / "runs", "--quick", "--json")
    assert sound.returncode == 0, sound.stdout + sound.stderr
    content = json.loads(sound.stdout)
    assert content["state"] == "ok"
    assert {finding["what"] for finding in content["findings"]} >= {
        "nodes", "cpus", "gpus", "python", "torch", "ray", "emma_tune", "storage", "writing", "clocks", "data",
    }  # fmt: skip

    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", NODE, "node", shared, sys.executable, cluster.address],
        stdout=(tmp_path / "node.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        ray.init(address=cluster.address, logging_level="ERROR")
        wait_for(lambda: len([n for n in ray.nodes() if n["Alive"]]) == 2, what="the other node")
        blind = next(n for n in ray.nodes() if n["NodeID"] != ray.get_runtime_context().get_node_id())["NodeID"]
        ray.shutdown()

        seen = emma("doctor", "--address", cluster.address, "--out", shared / "runs", "--quick")
        assert seen.returncode == 3, seen.stdout + seen.stderr
        (problem,) = (line for line in seen.stdout.splitlines() if line.startswith("problem"))
        assert "storage of" in problem
        assert blind[:8] in problem
        assert "found none there" in problem

        ended = emma("run", study_file(), "--address", cluster.address, "--out", shared / "runs" / "tiny")
        assert ended.returncode == 2, ended.stdout + ended.stderr
        (line,) = ended.stderr.splitlines()
        assert blind[:8] in line
        assert "expected the storage that is seen here" in line
        assert not (shared / "runs" / "tiny" / "study.json").exists()
    finally:
        kill_tree(node.pid)
        node.wait()


@pytest.mark.slow
def test_on_one_machine_a_small_study_is_run_and_nothing_is_left_of_it(emma, tmp_path):
    ended = emma("doctor", "--out", tmp_path / "runs")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "ok       nodes: 1 of 1 answer"
    assert lines[-1].startswith("ok       self-test: a small study, from images to a front, in ")
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "→"}
    assert {entry.name for entry in (tmp_path / "runs").iterdir()} <= {"identity", "sight"}
    assert list((tmp_path / "runs" / "sight").iterdir()) == []
