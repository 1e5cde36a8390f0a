"""Everything at random for minutes: nodes killed, silenced and added, the driver killed, the head restarted."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter

import pytest

from tests.faults.conftest import LONGER
from tests.faults.invariants import Witness, check_study
from tests.faults.machines import Machines

SECONDS = float(os.environ.get("EMMA_TUNE_FAULT_SECONDS", "180"))
"""How long faults are made; the study then ends by itself."""

FAULTS = ("kill a node", "add a node", "silence a node", "kill the driver", "kill the head")


@pytest.mark.long
def test_a_study_survives_all_of_it_at_random(machines, faulty, study_file, through, tmp_path, chance):
    attackers = {**LONGER["attackers"], "inverse": {"epochs": 30, "when": "front"}}
    file = study_file(
        **{**LONGER, "search": {"points": 3}, "baselines": ["none", "argmax"], "attackers": attackers}
    )
    output, witness = tmp_path / "output.log", Witness(tmp_path / "runs" / "store")
    cluster, made = machines(1, 1), Counter()
    deck: list[str] = []
    until = time.monotonic() + SECONDS
    driver = faulty("Slow", file, cluster.address)
    while time.monotonic() < until + 400:
        cluster.forget_the_lost()
        if not cluster.nodes:  # the last one was silent for too long
            cluster.add(1)
        try:
            quiet = time.monotonic() > until
            code = driver.wait(timeout=20 if quiet else chance.uniform(5, 15))
            witness.look()
            assert code in (0, 1), output.read_text()
            if code == 0:
                break
            driver = faulty("Slow", file, cluster.address)  # the same command, as the line says
            continue
        except subprocess.TimeoutExpired:
            witness.look()
        if time.monotonic() < until:
            deck = deck or chance.sample(FAULTS, len(FAULTS))
            fault = deck.pop()
            print(f"{until - time.monotonic():.0f} s left: {fault}")
            made[fault] += 1
            if fault == "kill the driver":
                driver.kill()
                driver.wait()
                driver = faulty("Slow", file, cluster.address)
            else:
                make(fault, cluster, chance)
    assert driver.returncode == 0, output.read_text()
    assert sum(made.values()) >= len(FAULTS), f"the study was too short: {made}"
    print(f"made: {dict(made)}")
    witness.look()
    check_study(tmp_path / "runs" / "tiny", through)


def make(fault: str, cluster: Machines, chance) -> None:
    """One fault of the cluster; afterwards it has nodes, or will have."""
    if fault == "kill the head":
        cluster.restart_head()
        for node in list(cluster.nodes):  # of the cluster that was
            cluster.kill(node)
        cluster.add(1)
        cluster.add(1)
        cluster.wait()
    elif fault == "add a node":
        cluster.add(1)
    elif fault == "kill a node":
        cluster.kill(chance.choice(cluster.nodes))
        if not cluster.nodes:
            cluster.add(1)
            cluster.wait()
    else:
        node = chance.choice(cluster.nodes)
        node.freeze()
        time.sleep(chance.uniform(2, 14))  # some are given up meanwhile, some are not
        node.thaw()
