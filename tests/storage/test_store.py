"""The store: what is committed stays, what is damaged is named, what is under way only saves time.

On a disk and in an object store alike; bytes are damaged one by one on a disk alone, where that is quick.
"""

import json
import multiprocessing
import os
import re
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from emma_tune.storage.artifact import Artifact
from emma_tune.storage.storage import ABANDONED_AFTER
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from tests.storage.artifacts import (
    ARTIFACT,
    KEY,
    OTHER,
    PROVENANCE,
    RECIPE,
    STATE,
    assert_same_tensors,
    commit,
    content,
    tensors_name,
)

# --- finished ---------------------------------------------------------------------------------------------


def test_an_artifact_comes_back_as_it_was_committed(store):
    assert commit(store) is True
    found = store.fetch("victim", KEY)
    assert_same_tensors(found.tensors, ARTIFACT.tensors)
    assert found.metrics == ARTIFACT.metrics
    assert found.history == ARTIFACT.history
    assert store.record("victim", KEY) == Record(RECIPE, ARTIFACT.metrics, ARTIFACT.history, PROVENANCE)
    assert store.has("victim", KEY)
    assert store.check("victim", KEY)


def test_an_artifact_may_have_no_tensors(store):
    commit(store, Artifact({}, {"l1": 0.5}))
    assert store.check("victim", KEY)
    assert store.fetch("victim", KEY) == Artifact({}, {"l1": 0.5})


def test_what_is_not_there_is_said_to_be_missing_and_nothing_is_made(store):
    assert not store.has("victim", KEY)
    assert not store.check("victim", KEY)
    assert store.record("victim", KEY) is None
    with pytest.raises(FileNotFoundError, match=f"{KEY}: expected a finished artifact, found none"):
        store.fetch("victim", KEY)
    assert content(store) == {}
    assert not (isinstance(store.root, Path) and store.root.exists())


def test_the_first_to_commit_wins_and_every_byte_of_it_stays(store):
    commit(store)
    before = content(store)
    assert commit(store, OTHER) is False
    assert content(store) == before
    assert_same_tensors(store.fetch("victim", KEY).tensors, ARTIFACT.tensors)


def test_the_same_artifact_has_the_same_bytes_from_every_process(store):
    first, second = Store(store.root / "first"), Store(store.root / "second")
    commit(first)
    second.commit("victim", KEY, ARTIFACT, recipe=RECIPE, provenance={"seconds": 99})
    assert tensors_name(first) == tensors_name(second)
    assert first.storage.read(tensors_name(first)) == second.storage.read(tensors_name(second))


def test_stages_and_keys_do_not_mix(store):
    commit(store)
    assert not store.has("surrogate", KEY)
    assert not store.has("victim", KEY[::-1])
    assert commit(store, OTHER, KEY[::-1]) is True
    assert_same_tensors(store.fetch("victim", KEY).tensors, ARTIFACT.tensors)


def test_commits_leave_nothing_behind_in_incoming(store):
    commit(store)
    commit(store, OTHER)
    with pytest.raises(ValueError, match="JSON"):
        commit(store, Artifact({}, {"loss": float("nan")}), "f" * 20)
    assert store.storage.names("incoming") == []
    assert store.storage.names("victim") == [KEY]


def test_an_empty_folder_does_not_block_a_commit(on_disk):
    on_disk.folder("victim", KEY).mkdir(parents=True)
    assert not on_disk.has("victim", KEY)
    assert commit(on_disk) is True
    assert on_disk.check("victim", KEY)


@pytest.mark.parametrize("leftover", ["tensors.safetensors", "stray"])
def test_a_folder_without_a_record_does_not_block_a_commit(store, leftover):
    store.storage.write(f"victim/{KEY}/{leftover}", b"half")
    assert not store.has("victim", KEY)
    assert commit(store) is True
    assert store.check("victim", KEY)
    if isinstance(store.root, Path):  # an object store moves nothing: what a record does not name does not count
        assert store.storage.names(f"victim/{KEY}") == ["record.json", "tensors.safetensors"]


# --- two processes ----------------------------------------------------------------------------------------


RACES = 400


def race(root: Path, barrier: Barrier, runner: int, results: Any) -> None:
    store = Store(root)
    artifact = Artifact({"weights": torch.full((1000,), float(runner))}, {"runner": runner})
    ends: list[bool | str] = []
    for number in range(RACES):
        barrier.wait(60)
        try:
            ends.append(store.commit("victim", f"{number:020d}", artifact, recipe={}, provenance={}))
        except OSError as error:
            ends.append(repr(error))
    results.put((runner, ends))


@pytest.mark.parametrize("leftover", [False, True], ids=["into nothing", "over a folder without a record"])
def test_of_two_processes_that_commit_at_once_exactly_one_wins_and_its_artifact_is_whole(on_disk, leftover):
    store = on_disk  # in an object store: tests/storage/
    keys = [f"{number:020d}" for number in range(RACES)]
    for key in keys if leftover else ():
        store.folder("victim", key).mkdir(parents=True)
        (store.folder("victim", key) / "tensors.safetensors").write_bytes(b"half")
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=race, args=(store.root, barrier, runner, results)) for runner in (0, 1)]
    for process in processes:
        process.start()
    ends = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert [{ends[0][number], ends[1][number]} for number in range(RACES)] == [{True, False}] * RACES
    for key, first_won in zip(keys, ends[0], strict=True):
        winner = 0 if first_won else 1
        artifact = store.fetch("victim", key)
        assert artifact.metrics == {"runner": winner}
        assert torch.equal(artifact.tensors["weights"], torch.full((1000,), float(winner)))
    assert list((store.root / "incoming").iterdir()) == []


# --- weights ----------------------------------------------------------------------------------------------


def test_weights_come_back_as_they_were_put(store):
    tensors = {"network.w": torch.arange(48.0).reshape(3, 16).t(), "mean": torch.tensor([1 / 3])}  # not contiguous
    assert_same_tensors(store.weights(store.put_weights(tensors)), tensors)


def test_weights_are_named_by_their_content(store):
    tensors = {"w": torch.zeros(2, 3)}
    fingerprint = store.put_weights(tensors)
    assert len(fingerprint) == 32
    assert set(fingerprint) <= set("0123456789abcdef")
    assert store.put_weights({"w": torch.zeros(2, 3)}) == fingerprint
    changed = [{"v": torch.zeros(2, 3)}, {"w": torch.zeros(3, 2)}, {"w": torch.tensor([[0, 0, 0], [0, 0, 1e-45]])}]
    assert len({fingerprint, *(store.put_weights(other) for other in changed)}) == 4


def test_weights_that_are_there_are_not_written_again(store):
    fingerprint = store.put_weights({"w": torch.zeros(3)})
    before = content(store)
    store.put_weights({"w": torch.zeros(3)})
    assert content(store) == before
    assert set(before) == {f"weights/{fingerprint}.safetensors"}


def test_damaged_weights_are_noticed_and_written_again(store):
    fingerprint = store.put_weights({"w": torch.zeros(3)})
    name = f"weights/{fingerprint}.safetensors"
    whole = store.storage.read(name)
    for damaged in (whole[:-1], whole[:-1] + b"!", b""):
        store.storage.write(name, damaged)
        with pytest.raises(CorruptArtifactError, match=re.escape(str(store.root / name))):
            store.weights(fingerprint)
        assert store.put_weights({"w": torch.zeros(3)}) == fingerprint
        assert store.storage.read(name) == whole


# --- order ------------------------------------------------------------------------------------------------


def test_sweep_removes_what_is_old_in_incoming_and_nothing_else(on_disk):
    store = on_disk  # in an object store nothing is ever incoming
    commit(store)
    store.save_state(KEY, STATE, seconds=1)
    weights = store.root / "weights" / f"{store.put_weights({'w': torch.zeros(3)})}.safetensors"
    images = store.root / "images" / "f00d" / "train.images.npy"
    images.parent.mkdir(parents=True)
    images.write_bytes(b"pixels")
    store.set_aside("victim", KEY)
    commit(store)
    before = content(store)
    old = time.time() - ABANDONED_AFTER - 60
    for entry in (store.folder("victim", KEY), store.root / "partial" / KEY, weights.parent, images.parent):
        os.utime(entry, (old, old))
    for name, age in (("0123456789abcdef" * 2, old), ("fresh", old + 120)):
        entry = store.root / "incoming" / name
        entry.mkdir()
        (entry / "tensors.safetensors").write_bytes(b"half")
        os.utime(entry, (age, age))
    store.storage.sweep()
    assert [entry.name for entry in (store.root / "incoming").iterdir()] == ["fresh"]
    assert {name: file for name, file in content(store).items() if "fresh" not in name} == before


def test_sweep_of_a_store_that_does_not_exist_makes_nothing(store):
    store.storage.sweep()
    assert content(store) == {}
    assert not (isinstance(store.root, Path) and store.root.exists())


def test_sweep_leaves_all_that_counts(store):
    commit(store)
    store.save_state(KEY, STATE, seconds=1)
    store.put_weights({"w": torch.zeros(3)})
    before = content(store)
    store.storage.sweep()
    assert content(store) == before


def test_nothing_in_a_store_is_a_pickle(store):
    commit(store)
    store.save_state(KEY, STATE, seconds=1)
    store.note_failure(KEY, run="a", reason="why")
    store.put_weights({"w": torch.zeros(3)})
    assert store.set_aside("victim", KEY) is None  # what is sound stays where it is
    name = tensors_name(store)
    store.storage.write(name, store.storage.read(name)[:-1] + b"!")
    assert store.set_aside("victim", KEY)
    commit(store)
    files = content(store)
    assert len(files) == 7
    for name, (written, _) in files.items():
        assert not written.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
        if name.endswith(".json"):
            json.loads(written)
        else:
            assert name.endswith(".safetensors")
            assert safetensors.deserialize(written)
