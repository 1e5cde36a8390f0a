"""What Ray says of a worker's end becomes one line, and the loss of a node is not held against a task."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from emma_tune.tuning.workers.failures import MAX_LOST_NODES, FailureScheduler, death_reason

MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7, ID: c5a7) "
    "was 3.78GB used / 23.54GB limit (0.160435)\nOOM kill reason: Memory usage 3981287424B exceeded threshold\n"
)
KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: T\n\tip: 10.0.0.7\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: …\n"
)
UNREACHABLE = (
    "The actor 33399f is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed "
    "rpc_code: 14. The task may or may not have been executed on the actor.\n"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MEMORY, "node 10.0.0.7 ran out of memory (3.78GB of 23.54GB used), and Ray killed it"),
        (
            KILLED,
            "its process ended unexpectedly "
            "(SYSTEM_ERROR: Worker unexpectedly exits with a connection error code 2.)",
        ),
        (UNREACHABLE, "its node was lost"),
        ("The actor is dead because its node has died. Node Id: 7237\n", "its node was lost"),
        ("Traceback …\nValueError: expected a matrix\n", "ValueError: expected a matrix"),
        ("", "cause unknown"),
    ],
)
def test_one_line_says_why(text, line):
    assert death_reason(text) == line


@pytest.fixture
def ward(tmp_path):
    """A driver that remembers what it was told, its scheduler, and a trial with the failures written so far."""
    told = {}
    driver = SimpleNamespace(explain=lambda trial, reason: told.update({trial: reason}))
    trial = SimpleNamespace(
        trial_id="a", error_file=str(tmp_path / "error.txt"), run_metadata=SimpleNamespace(num_failures=0)
    )

    def fail(text: str) -> None:
        trial.run_metadata.num_failures += 1
        with (tmp_path / "error.txt").open("a") as file:
            file.write(f"Failure # {trial.run_metadata.num_failures} (occurred at 2026-11-24)\n{text}\n")
        scheduler.on_trial_error(None, trial)

    scheduler = FailureScheduler(driver)
    return told, trial, fail


def test_the_last_failure_counts(ward):
    told, trial, fail = ward
    fail(KILLED)
    fail(MEMORY)
    assert told["a"].startswith("node 10.0.0.7 ran out of memory")
    assert trial.run_metadata.num_failures == 2


def test_the_loss_of_a_node_is_no_failure_of_the_trial_until_it_happens_again_and_again(ward):
    _, trial, fail = ward
    fail(KILLED)
    for _ in range(MAX_LOST_NODES):
        fail(UNREACHABLE)
    assert trial.run_metadata.num_failures == 1
    fail(UNREACHABLE)
    assert trial.run_metadata.num_failures == 2
