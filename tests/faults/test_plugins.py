"""A plug-in on nodes that never saw its file: workers get it from the store."""

from __future__ import annotations

import json

import pytest

from emma_tune.plugins.known import hash_of
from emma_tune.plugins.trust import remember
from tests.conftest import wait_for
from tests.integration.faulty import begun

PLUGIN = """
import os
from pathlib import Path

from torch import nn

from emma_tune.attacks.lesson import Lesson
from emma_tune.plugins import attacker, network

with Path({witness!r}).open("a") as file:
    file.write(f"{{os.getpid()}}\\n")


@attacker()
def curious(loot):
    return Lesson(loot.answers, metrics={{"asked": len(loot.answers)}})


@network()
def flat(channels, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, classes))
"""


@pytest.mark.slow
def test_a_plug_in_works_on_nodes_that_never_saw_the_file(machines, faulty, study_file, tmp_path):
    file, witness, hold = tmp_path / "mine.py", tmp_path / "executed", tmp_path / "hold"
    file.write_text(PLUGIN.format(witness=str(witness)))
    remember([hash_of(file.read_bytes())])
    hold.touch()
    cluster = machines(1, 1)
    attackers = {name: {"model": "flat"} for name in ("curious", "soft")}
    study = study_file(plugins=[str(file)], attackers=attackers, baselines=["none"], search={"points": 1})
    driver = faulty("Held", study, cluster.address)
    wait_for(lambda: driver.poll() is not None or begun(tmp_path), what="the first task")
    file.unlink()

    def attacked() -> bool:
        """Whether both nodes have begun to train a clone."""
        at_work = {task["pid"] for task in begun(tmp_path) if task["stage"] == "attacker"}
        return all(at_work & {process.pid for process in node.processes()} for node in cluster.nodes)

    wait_for(lambda: driver.poll() is not None or attacked(), what="a clone on each node")
    assert driver.poll() is None, (tmp_path / "output.log").read_text()
    hold.unlink()
    assert driver.wait(timeout=240) == 0, (tmp_path / "output.log").read_text()
    executed = witness.read_text().split()
    assert len(executed) == len(set(executed)) >= 3, "once each by the driver and by workers of both nodes"
    store = tmp_path / "runs" / "store"
    metrics = [json.loads(record.read_text())["metrics"] for record in store.glob("attacker/*/record.json")]
    assert len(metrics) == 4
    assert [of["asked"] for of in metrics if "asked" in of] == [300, 300]
