"""Examine a cluster, the data sets, and run a one-minute study."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from emma_tune.data.inventory import inventory
from emma_tune.storage import Place, storage_at
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.connection import connected
from emma_tune.tuning.cluster.limits import check_limits
from emma_tune.tuning.cluster.nodes import examine_nodes, sight_file
from emma_tune.tuning.doctor import OK, PROBLEM, WARNING, Finding, judge, probe
from emma_tune.tuning.launch import open_store, run_study
from emma_tune.tuning.order import RunOrder
from emma_tune.tuning.ray_patches import warnings_ignored

MEGABYTES = 32
"""Written by each node, to measure how fast that is."""

SELF_TEST: dict[str, Any] = {
    "name": "self-test",
    "victim": {"dataset": "digits", "model": "resnet8", "epochs": 2},
    "queries": {"dataset": "mnist5k", "limit": 300},
    "surrogate": {"epochs": 2},
    "defense": {"epochs": 2},
    "attackers": {"soft": {}, "hard": {}},
    "baselines": ["none"],
    "search": {"points": 1, "space": {"lambda": 0.01, "lr_gamma": 0.3, "st_epoch": 0}},
    "resources": "auto",  # on GPUs, where there are any
}
"""Every stage once, in seconds."""


def examine_cluster(root: Place, *, address: str | None) -> list[Finding]:
    """Examine every node of a cluster, or this machine.

    Args:
        root: where studies will be; `sight` and `identity` are written there.
        address: of the cluster; a local one is started if None.

    Raises:
        StudyError: if there is no cluster, or nothing can be written to the root.
    """
    store = open_store(root)
    assert store.identity is not None, "it was identified"
    if address is None:
        check_limits()
    with warnings_ignored(), connected(address, hear=lambda message: None):
        nodes = examine_nodes(store, MEGABYTES)
    with sight_file(store) as nonce:
        here = probe.examine(str(root), store.identity, nonce, 0)
    return judge(nodes, str(root), here)


def examine_data(root: Path | None) -> Finding:
    """Look for data sets on this machine, which decodes them for all others."""
    entries = [entry for entry in inventory(root) if ":" not in entry.name]
    damaged = [f"{entry.name}: {entry.found}" for entry in entries if entry.found.startswith("damaged")]
    if damaged:
        return Finding("data", WARNING, "; ".join(damaged), "fetch or copy it again: emma-tune data list")
    found = [entry.name for entry in entries if entry.found]
    missing = [entry.name for entry in entries if not entry.found]
    here = f"below {root}" if root else "no data root (--root, EMMA_TUNE_DATA)"
    return Finding("data", OK, f"{', '.join(found)}; {here}; not found: {', '.join(missing) or 'none'}")


def self_test(root: Place, *, address: str | None) -> Finding:
    """Run a small study to its end, in a folder that is removed again."""
    name = f"self-test-{os.getpid()}"
    folder, began = root / name, time.monotonic()
    study = Study.model_validate(SELF_TEST)
    try:
        order = RunOrder(study, folder / "self-test", folder / "store", began, address)
        result = run_study(order, Console(quiet=True))
    except (StudyError, OSError, ray.exceptions.RayError) as error:
        return Finding("self-test", PROBLEM, str(error), "fix this first")
    finally:
        storage_at(root).remove(name)
    if result.failures:
        reason = next(iter(result.failures.values()))
        return Finding("self-test", PROBLEM, reason, "fix this first: every study would fail the same way")
    if result.interrupted:
        return Finding("self-test", PROBLEM, "interrupted", "run doctor again")
    seconds = time.monotonic() - began
    return Finding("self-test", OK, f"a small study, from images to a front, in {seconds:.0f} s")
