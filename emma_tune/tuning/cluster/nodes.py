"""The nodes of a cluster: run something on each of them, and check that all see the same storage."""

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

NODE_TIMEOUT = 60.0
"""Seconds that a node has to answer: it starts a process first, which imports PyTorch."""


def alive_nodes() -> dict[str, dict[str, Any]]:
    """Return Ray's nodes that are alive, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def run_on_nodes(nodes: Collection[str], function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run a function of `doctor.probe` on several nodes at once, sending its code along.

    Returns:
        What it returned, or the exception, by node.
    """
    ray.cloudpickle.register_pickle_by_value(probe)
    try:
        remote = ray.remote(num_cpus=0, max_retries=0)(function)
        answers = {
            node: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                *arguments
            )
            for node in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=NODE_TIMEOUT)
    return {node: _result(answer) for node, answer in answers.items()}


def _result(answer: ray.ObjectRef) -> Any:
    try:
        return ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return TimeoutError(f"no answer within {NODE_TIMEOUT:g} s")
    except Exception as error:  # of the function, of the node, or of Ray
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, Exception) else error


def node_label(node: Mapping[str, Any]) -> str:
    """Return a node's name for people: host, address and id."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


@contextmanager
def sight_file(store: Store) -> Iterator[str]:
    """Put a new file into the storage within the block; yield its name, which is its content."""
    nonce = uuid.uuid4().hex
    store.storage.write(f"sight/{nonce}", nonce.encode())
    try:
        yield nonce
    finally:
        for name in store.storage.names("sight"):
            if name.startswith(nonce):  # other commands may be checking at the same moment
                store.storage.remove(f"sight/{name}")


def check_storage(store: Store) -> None:
    """Check that every node reads what is written here, and that what it writes is read here.

    Raises:
        StudyError: naming each node that sees another storage, or none.
    """
    assert store.identity is not None, "the storage was identified when the run began"
    nodes = alive_nodes()
    with sight_file(store) as nonce:
        seen = run_on_nodes(nodes, probe.look, str(store.root), store.identity, nonce, 0)
        wrong = {
            node: found if isinstance(found, Exception) else "one whose files are not seen here"
            for node, found in seen.items()
            if isinstance(found, Exception) or not store.storage.exists(found["mine"])
        }
    if wrong:
        expected = f"expected the storage that is seen here at {store.root}"
        raise StudyError(
            "\n".join(
                f"node {node_label(nodes[node])}: {expected}, found {found}" for node, found in wrong.items()
            )
        )


def bf16_factors() -> dict[str, float | None]:
    """Return how many times as long as fp32 bf16 takes on the CPU of each node that has some for Ray, or None."""
    nodes = {name: node for name, node in alive_nodes().items() if node["Resources"].get("CPU")}
    answers = run_on_nodes(nodes, probe.bf16_factor)
    return {
        f"the CPU of {node_label(nodes[node])}": None if isinstance(answer, Exception) else answer
        for node, answer in answers.items()
    }


def examine_nodes(store: Store, megabytes: int) -> dict[str, dict[str, Any]]:
    """Return what `probe.examine` reports from every node, as `doctor.judge` takes it."""
    assert store.identity is not None, "the storage was identified before"
    nodes = alive_nodes()
    reports: dict[str, dict[str, Any]] = {}
    with sight_file(store) as nonce:
        answers = run_on_nodes(nodes, probe.examine, str(store.root), store.identity, nonce, megabytes)
        for node, answer in answers.items():
            if isinstance(answer, Exception):
                reports[node_label(nodes[node])] = {"error": f"{type(answer).__name__}: {answer}"}
                continue
            if answer["seen"] is None and not store.storage.exists(answer["mine"]):
                answer["seen"] = f"{store.root}: what was written there is not seen here"
            resources = nodes[node]["Resources"]
            skew, within = _skew(node)
            reports[node_label(nodes[node])] = {
                **answer,
                "ray_cpus": resources.get("CPU", 0.0),
                "ray_gpus": resources.get("GPU", 0.0),
                "skew": skew,
                "skew_within": within,
            }
    return reports


def _skew(node: str) -> tuple[float, float]:
    """Return the seconds that a node's clock is ahead, and the error: half of what the request took."""
    began = time.time()
    there = run_on_nodes([node], probe.clock)[node]
    ended = time.time()
    if isinstance(there, Exception):
        return 0.0, float("inf")
    return there - (began + ended) / 2, (ended - began) / 2
