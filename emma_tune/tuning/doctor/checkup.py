"""A cluster looked over, and a study of a minute run on it."""

from __future__ import annotations

import os
import time
from typing import Any

import ray
from rich.console import Console

from emma_tune.storage import Place, storage_at
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.connection import connected
from emma_tune.tuning.cluster.nodes import examined, shown
from emma_tune.tuning.doctor import OK, PROBLEM, Finding, Health, judge, probe
from emma_tune.tuning.remote.client import LostError, runner

MEGABYTES = 32
"""Written by each node, to see how fast that is."""

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


def look_over(root: Place, *, address: str | None) -> list[Finding]:
    """Asks every node of a cluster, or this machine, and judges the answers.

    Args:
        root: where studies are to lie; `sight` and `identity` are written there.
        address: of the cluster; a local one is started if None.

    Raises:
        StudyError: if there is no cluster, or nothing can be written to the root.
    """
    try:
        store = Store(root).identified()
    except OSError as error:
        raise StudyError(f"{root}: expected a place that can be written to, found {error}") from error
    assert store.identity is not None, "it was identified"
    with connected(address):
        nodes = examined(store, MEGABYTES)
    with shown(store) as nonce:
        here = probe.examine(str(root), store.identity, nonce, 0)
    return judge(Health(nodes, str(root), here))


def self_test(root: Place, *, address: str | None) -> Finding:
    """Runs a small study to its end, in a folder that is removed again."""
    folder = f"self-test-{os.getpid()}"
    began = time.monotonic()
    try:
        ending = runner(address)(
            Study.model_validate(SELF_TEST),
            root / folder / "self-test",
            root / folder / "store",
            console=Console(quiet=True),
        )
    except (StudyError, LostError, OSError, ray.exceptions.RayError) as error:
        return Finding("self-test", PROBLEM, str(error), "mend that first")
    finally:
        storage_at(root).remove(folder)
    took = time.monotonic() - began
    if ending.failures:
        first = next(iter(ending.failures.values()))
        return Finding("self-test", PROBLEM, first, "mend that first: every study would fail so")
    if ending.interrupted:
        return Finding("self-test", PROBLEM, "interrupted", "run doctor again")
    return Finding("self-test", OK, f"a small study, from images to a front, in {took:.0f} s")
