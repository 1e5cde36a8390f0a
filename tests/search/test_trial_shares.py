"""What trials take: fixed, measured, and enlarged after it was not enough."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from emma_tune.results.ledger import read_ledger
from emma_tune.search.trial_shares import CONTEXT, GIB, HEADROOM, MOST_TASKS_PER_GPU, Capacity, in_gib, whole_part
from emma_tune.tuning.idle_slots import cause_of_idle_slots
from emma_tune.tuning.workers.memory import CudaMeter, allowed_bytes, sizes
from tests.search.desk import ARGMAX, FIRST, SHARES, Desk

CAPACITY = 64 * GIB
AUTO = {stage: {**share, "gpu": "auto"} for stage, share in SHARES.items()}
FIXED = {stage: {**share, "gpu": 0.25} for stage, share in SHARES.items()}
SIZES = "asked for 2.00 GiB, 15.5 GiB allowed, 14.9 GiB held at most, 64.0 GiB on the GPU"


def taken(desk: Desk) -> dict[str, tuple[str, float]]:
    """Everything that can be handed out now: stage and share of a GPU, by trial."""
    found = {}
    for number in count():
        trial = f"trial-{number}-of-{len(desk.said)}-{id(found)}"
        config = desk.driver.suggest(trial)
        if not isinstance(config, dict):
            return found
        found[trial] = (desk.driver.trials[trial][0].stage, config["share"]["gpu"])
    raise AssertionError


def finish(desk: Desk, trial: str, gib: float) -> None:
    """A trial ends, whose tasks took so much each."""
    memory = {"peak_memory": int(gib * GIB), "memory_capacity": CAPACITY}
    desk.make(desk.driver.trials[trial], **memory)
    desk.driver.hear(trial, {"done": True, "busy": 1.0})
    desk.driver.ended(trial, {"done": True})


def starve(desk: Desk, trial: str) -> None:
    result = {"done": True, "task": desk.driver.trials[trial][0].key, "out_of_memory": SIZES}
    desk.driver.ended(trial, result)


def until(desk: Desk, stage: str, gib: float = 1.0) -> dict[str, tuple[str, float]]:
    """Finishes all that does not wait for a stage, and gives the trials of it that were handed out."""
    kept = {}
    while some := taken(desk):
        for trial, took in some.items():
            if took[0] == stage:
                kept[trial] = took
            else:
                finish(desk, trial, gib)
    return kept


def test_gpus_that_join_late_are_taken_from_then_on(desk):
    desk.open(slots=4)
    until_then = taken(desk)
    assert {share for _, share in until_then.values()} == {0.0}
    desk.driver.resize(Capacity(4, FIXED, 1))
    for trial in until_then:
        finish(desk, trial, 1.0)
    assert {share for _, share in taken(desk).values()} == {0.25}


def test_until_one_is_measured_as_many_are_handed_out_as_there_are_gpus(desk):
    desk.open(slots=16, shares=AUTO, gpus=1)
    first = until(desk, "attacker")
    assert [share for _, share in first.values()] == [1.0]
    assert cause_of_idle_slots(desk.driver) == "measuring"
    finish(desk, *first, gib=1.9)
    assert desk.said[-1] == "attacker: peak 1.9 GiB of 64.0 GiB, 16 tasks to a GPU"
    assert set(until(desk, "attacker").values()) == {("attacker", 1 / 16)}
    assert cause_of_idle_slots(desk.driver) != "measuring"


def test_several_gpus_measure_at_once(desk):
    desk.open(slots=16, shares=AUTO, gpus=2)
    assert [share for _, share in until(desk, "attacker").values()] == [1.0, 1.0]


def test_the_most_that_any_of_them_took_counts_with_headroom_and_a_context(desk):
    desk.open(slots=16, shares=AUTO, gpus=1)
    first = until(desk, "attacker")
    finish(desk, *first, gib=10)
    shares = [share for _, share in until(desk, "attacker").values()]
    need = (HEADROOM * 10 + 0.5) / 64
    assert set(shares) == {1 / 4}
    assert 1 / 4 >= need > 1 / 5


def test_a_larger_network_is_measured_for_itself(desk):
    attackers = {"soft": {"epochs": 2}, "large": {"kind": "soft", "epochs": 2, "model": "resnet18"}}
    desk.open(slots=16, shares=AUTO, gpus=1, attackers=attackers)
    first = until(desk, "attacker")
    model = desk.driver.trials[next(iter(first))][0].config.training.model
    finish(desk, *first, gib=1)
    shares = {}
    for trial, (_, share) in taken(desk).items():
        shares.setdefault(desk.driver.trials[trial][0].config.training.model == model, set()).add(share)
    assert shares[True] == {1 / 16}
    assert shares.get(False, {1.0}) == {1.0}


def test_a_resumed_run_measures_nothing_again(desk):
    desk.open(slots=4, shares=AUTO, gpus=1, search={"points": 1})
    while some := taken(desk):
        for trial in some:
            finish(desk, trial, 4.0)
    assert len(read_ledger(desk.place.ledger).outcomes) == 3
    desk.said.clear()
    desk.open(slots=4, shares=AUTO, gpus=1)
    assert [share for _, share in until(desk, "attacker", 4.0).values()] == [1 / 11, 1 / 11]
    assert "attacker: peak 4.0 GiB of 64.0 GiB, 11 tasks to a GPU" in desk.said


def test_on_a_node_without_gpus_auto_takes_none(desk):
    desk.open(slots=16)
    assert {share for _, share in until(desk, "attacker").values()} == {0.0}


def test_out_of_memory_is_tried_once_more_with_twice_the_share(desk):
    desk.open(slots=4, shares=FIXED, gpus=1)
    matrix = until(desk, "matrix")
    assert set(matrix.values()) == {("matrix", 0.25)}
    trial = next(iter(matrix))
    key = desk.driver.trials[trial][0].key
    starve(desk, trial)
    assert desk.said == [f"matrix: out of memory with 0.25 of a GPU: {SIZES}; tried once more with 0.5"]
    assert desk.events("failed") == []
    again = {trial: share for trial, (_, share) in taken(desk).items()}
    (trial,) = (trial for trial in again if desk.driver.trials[trial][0].key == key)
    assert again[trial] == 0.5
    finish(desk, trial, 20)
    assert desk.driver.outcomes.failures == {}


def test_out_of_memory_twice_fails_the_point_with_both_shares_and_the_sizes(desk):
    desk.open(slots=4, shares=FIXED, gpus=1)
    matrix = until(desk, "matrix")
    trial = next(iter(matrix))
    tasks = desk.driver.trials[trial]
    number = desk.point_of(tasks[0])
    starve(desk, trial)
    (again,) = (t for t in taken(desk) if desk.driver.trials[t][0].key == tasks[0].key)
    starve(desk, again)
    assert desk.driver.outcomes.failures == {
        number: f"matrix: out of memory with 0.5 of a GPU: {SIZES}; before, with 0.25 of a GPU: {SIZES}"
    }
    assert number >= FIRST


def test_from_a_whole_gpu_there_is_nothing_larger(desk):
    desk.open(slots=4, shares={stage: {**share, "gpu": 1.0} for stage, share in SHARES.items()}, gpus=1)
    trial = next(iter(until(desk, "matrix")))
    starve(desk, trial)
    (reason,) = desk.driver.outcomes.failures.values()
    assert reason.endswith(f"out of memory with 1 of a GPU: {SIZES}")


@pytest.mark.parametrize(
    ("need", "share"),
    [(0.001, 1 / MOST_TASKS_PER_GPU), (0.0625, 1 / 16), (0.07, 1 / 14), (0.34, 1 / 2), (0.51, 1), (3.0, 1)],
)
def test_a_share_is_a_whole_part_of_a_gpu(need, share):
    assert whole_part(need) == share


def test_the_shares_of_a_gpu_fit_into_it_with_every_process_own_context():
    for many in (1, 2, 4, 16):
        assert many * (allowed_bytes(1 / many, CAPACITY) + CONTEXT) <= CAPACITY
    assert allowed_bytes(1 / 16, 8 * GIB) == 8 * GIB // 32  # never nothing


def test_sizes_are_for_people():
    assert (in_gib(3 * GIB), in_gib(2**20 * 300)) == ("3.0 GiB", "300 MiB")
    assert sizes(None, None, GIB, 2 * GIB) == (
        "asked for more, no limit, 1.0 GiB held at most, 2.0 GiB on the GPU"
    )


def test_only_what_means_that_memory_is_out_is_taken_for_it():
    class Small(CudaMeter):
        capacity, peak = 2 * GIB, GIB

    meter = Small()
    said = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total …")
    assert meter.starved(said) == "asked for 20.00 MiB, no limit, 1.0 GiB held at most, 2.0 GiB on the GPU"
    for text in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"):
        assert meter.starved(RuntimeError(text)) is not None
    for other in (
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        OSError(),
    ):
        assert meter.starved(other) is None


def test_a_slot_is_idle_only_if_the_gpus_have_room(desk):
    shares = {**FIXED, "victim": {"cpu": 1.0, "gpu": 0.5}}
    granting = desk.open(slots=4, shares=shares, gpus=1).shares
    victim = next(task for task in desk.plan(ARGMAX).tasks.values() if task.stage == "victim")
    granting.grant("one", [victim])
    assert granting.has_room("attacker")
    granting.grant("two", [victim])
    assert not granting.has_room("attacker")
    granting.end("one")
    assert granting.has_room("attacker")
