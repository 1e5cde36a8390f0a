"""The nodes of a cluster: something run on every one, and the proof that all see the same storage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from emma_tune.storage.store import Store
from emma_tune.study.file import StudyError
from emma_tune.tuning.doctor import probe

PATIENCE = 60.0
"""Seconds that a node has to answer: it starts a process first, which imports PyTorch."""


def alive() -> dict[str, dict[str, Any]]:
    """Ray's nodes that are alive, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def on_nodes(nodes: Collection[str], function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Runs a function of `doctor.probe` on nodes at once, as it stands here and not as it is installed there.

    Returns:
        What it gave, or the exception, by node.
    """
    ray.cloudpickle.register_pickle_by_value(probe)
    try:
        remote = ray.remote(num_cpus=0, max_retries=0)(function)
        asked = {
            node: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                *arguments
            )
            for node in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=PATIENCE)
    return {node: _given(answer) for node, answer in asked.items()}


def _given(answer: ray.ObjectRef) -> Any:
    try:
        return ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return TimeoutError(f"no answer within {PATIENCE:g} s")
    except Exception as error:  # of the function, of the node, or of Ray
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else error


def named(node: Mapping[str, Any]) -> str:
    """A node for people."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


@contextmanager
def shown(store: Store) -> Iterator[str]:
    """A file in the storage that was not there before; its name is its content."""
    nonce = uuid.uuid4().hex
    store.storage.write(f"sight/{nonce}", nonce.encode())
    try:
        yield nonce
    finally:
        for name in store.storage.names("sight"):
            if name.startswith(nonce):  # others may be looking at the same moment
                store.storage.remove(f"sight/{name}")


def prove_storage(store: Store) -> None:
    """Makes sure that every node reads what was written here, and that what it writes is read here.

    Raises:
        StudyError: naming each node that sees another storage, or none.
    """
    assert store.identity is not None, "the storage was identified when the run began"
    nodes = alive()
    with shown(store) as nonce:
        seen = on_nodes(nodes, probe.look, str(store.root), store.identity, nonce, 0)
        missed = {
            node: found if isinstance(found, Exception) else "one whose files are not seen here"
            for node, found in seen.items()
            if isinstance(found, Exception) or not store.storage.exists(found["mine"])
        }
        blind = [
            f"node {named(nodes[node])}: expected the storage that is seen here at {store.root}, found {found}"
            for node, found in missed.items()
        ]
    if blind:
        raise StudyError("\n".join(blind))


def examined(store: Store, megabytes: int) -> dict[str, dict[str, Any]]:
    """What `probe.examine` says on every node, as `doctor.Health` wants it."""
    assert store.identity is not None, "the storage was identified before"
    nodes = alive()
    reports: dict[str, dict[str, Any]] = {}
    with shown(store) as nonce:
        answers = on_nodes(nodes, probe.examine, str(store.root), store.identity, nonce, megabytes)
        for node, answer in answers.items():
            if isinstance(answer, Exception):
                reports[named(nodes[node])] = {"error": f"{type(answer).__name__}: {answer}"}
                continue
            mine = answer.get("mine")
            if answer["seen"] is None and not store.storage.exists(mine):
                answer["seen"] = f"{store.root}: what was written there is not seen here"
            resources = nodes[node]["Resources"]
            skew, within = _skew(node)
            reports[named(nodes[node])] = {
                **answer,
                "ray_cpus": resources.get("CPU", 0.0),
                "ray_gpus": resources.get("GPU", 0.0),
                "skew": skew,
                "skew_within": within,
            }
    return reports


def _skew(node: str) -> tuple[float, float]:
    """Seconds that a node's clock is ahead, and how far off that may be: half of what the question took."""
    began = time.time()
    there = on_nodes([node], probe.clock)[node]
    ended = time.time()
    if isinstance(there, Exception):
        return 0.0, float("inf")
    return there - (began + ended) / 2, (ended - began) / 2
