"""The saved state of a task under way only saves time: it comes back whole or not at all."""

import pytest
import safetensors
import safetensors.torch
import torch

from emma_tune.storage.artifact import State
from tests.storage.artifacts import KEY, STATE, assert_same_tensors, content

STATE_NAME, FAILURE_NAME = f"partial/{KEY}/state.safetensors", f"partial/{KEY}/failure.json"


def test_a_state_comes_back_as_it_was_saved_and_is_no_artifact(store):
    store.save_state(KEY, STATE, seconds=12.5)
    state, seconds = store.load_state(KEY)
    assert_same_tensors(state.tensors, STATE.tensors)
    assert (state.epoch, state.history, seconds) == (3, STATE.history, 12.5)
    assert not store.has("victim", KEY)


def test_a_later_state_replaces_the_earlier_and_leaves_no_other_file(store):
    store.save_state(KEY, STATE, seconds=1)
    store.save_state(KEY, State(4, {"weights": torch.ones(2)}), seconds=2)
    state, seconds = store.load_state(KEY)
    assert_same_tensors(state.tensors, {"weights": torch.ones(2)})
    assert (state.epoch, state.history, seconds) == (4, [], 2)
    assert list(content(store)) == [STATE_NAME]


def test_without_a_state_there_is_none(store):
    assert store.load_state(KEY) is None
    assert content(store) == {}


def test_a_state_cut_off_anywhere_is_none(on_disk):
    store, path = on_disk, on_disk.root / STATE_NAME
    store.save_state(KEY, STATE, seconds=1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.load_state(KEY) is None


@pytest.mark.parametrize(
    "written",
    [
        b"",
        bytes(500),
        b"garbage",
        safetensors.torch.save(STATE.tensors, metadata={"state": "{}"})[:-1],
        safetensors.torch.save({"weights": torch.ones(2)}),
        safetensors.torch.save({"weights": torch.ones(2)}, metadata={"state": "{}"}),
        safetensors.torch.save({"weights": torch.ones(2)}, metadata={"state": "null"}),
        safetensors.torch.save({"weights": torch.ones(2)}, metadata={"epoch": "1"}),
    ],
    ids=["nothing", "zeros", "garbage", "cut off", "no metadata", "an empty state", "no state", "other metadata"],
)
def test_a_file_that_is_no_state_is_none(store, written):
    store.save_state(KEY, STATE, seconds=1)
    store.storage.write(STATE_NAME, written)
    assert store.load_state(KEY) is None


def test_a_dropped_state_is_gone_with_its_failures_and_dropping_again_is_no_error(store):
    store.save_state(KEY, STATE, seconds=1)
    store.save_state(KEY[::-1], STATE, seconds=1)
    store.note_failure(KEY, run="a", reason="why")
    store.drop_state(KEY)
    store.drop_state(KEY)
    assert store.load_state(KEY) is None
    assert store.note_failure(KEY, run="a", reason="why") == 1
    assert store.load_state(KEY[::-1]) is not None


def test_failures_are_counted_by_task_and_run(store):
    counts = [store.note_failure(KEY, run=run, reason="why") for run in ("a", "a", "a", "b", "b", "a")]
    assert counts == [1, 2, 3, 1, 2, 1]
    assert store.note_failure(KEY[::-1], run="a", reason="why") == 1


def test_a_failure_does_not_touch_the_state(store):
    store.save_state(KEY, STATE, seconds=1)
    before = store.storage.read(STATE_NAME)
    store.note_failure(KEY, run="a", reason="why")
    assert store.storage.read(STATE_NAME) == before


def test_a_torn_note_of_a_failure_counts_from_one(store):
    store.note_failure(KEY, run="a", reason="why")
    whole = store.storage.read(FAILURE_NAME)
    for length in range(len(whole)):
        store.storage.write(FAILURE_NAME, whole[:length])
        assert store.note_failure(KEY, run="a", reason="why") == 1
