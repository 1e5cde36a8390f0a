"""The store: what is committed stays, what is damaged is named, what is under way only saves time.

On a disk and in an object store alike; bytes are damaged one by one on a disk alone, where that is quick.
"""

import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from emma_tune.storage import as_place
from emma_tune.storage.artifact import Artifact, State
from emma_tune.storage.storage import ABANDONED_AFTER
from emma_tune.storage.store import CorruptArtifactError, Record, Store

KEY = "0123456789abcdef0123"
RECIPE = {"stage": "victim", "version": 1, "config": {"lr": 0.1 + 0.2, "name": "größe"}, "inputs": {}}
PROVENANCE = {"seconds": 1.5, "host": "here", "run": "4f1c"}
ARTIFACT = Artifact(
    {
        "weights": torch.linspace(-1, 1, 6).reshape(2, 3),
        "double": torch.tensor([1 / 3, 1e-300], dtype=torch.float64),
        "half": torch.tensor([0.1], dtype=torch.float16),
        "brain": torch.tensor([0.1], dtype=torch.bfloat16),
        "labels": torch.tensor([-(2**62), 3]),
        "pixels": torch.tensor([[0, 255]], dtype=torch.uint8),
        "mask": torch.tensor([True, False]),
        "scalar": torch.tensor(7.0),
        "nothing": torch.zeros(0, 4),
    },
    {"accuracy": 0.30000000000000004, "loss": 1e-17},
    [{"epoch": 0, "loss": 2.5}, {"epoch": 1, "loss": 1 / 3}],
)
OTHER = Artifact({"weights": torch.zeros(4)}, {"accuracy": 0.0})


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(tmp_path / "store")
    return Store(as_place(request.getfixturevalue("bucket") + "/store"))


@pytest.fixture
def on_disk(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def commit(store: Store, artifact: Artifact = ARTIFACT, key: str = KEY) -> bool:
    return store.commit("victim", key, artifact, recipe=RECIPE, provenance=PROVENANCE)


def content(store: Store, folder: str = "") -> dict[str, tuple[bytes, float]]:
    """Every file by name: its bytes, and when it was written. Locks come and go."""
    found: dict[str, tuple[bytes, float]] = {}
    for entry in store.storage.names(folder):
        name = f"{folder}/{entry}".lstrip("/")
        if name == "aside.lock":
            continue
        if store.storage.exists(name):
            found[name] = (store.storage.read(name), written_at(store, name))
        else:
            found |= content(store, name)
    return found


def written_at(store: Store, name: str) -> float:
    if isinstance(store.root, Path):
        return (store.root / name).stat().st_mtime_ns
    return float(store.root.fs.modified((store.root / name).path).timestamp())


def tensors_name(store: Store, key: str = KEY) -> str:
    """Of the tensors of an artifact, in the store: in an object store it has their hash in it."""
    (name,) = [name for name in store.storage.names(f"victim/{key}") if name.startswith("tensors")]
    return f"victim/{key}/{name}"


RECORD_NAME = f"victim/{KEY}/record.json"


def assert_same_tensors(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


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


# --- damaged ----------------------------------------------------------------------------------------------


def lowest_bit_flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "last byte lost": lambda content: content[:-1],
    "half lost": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "a byte more": lambda content: content + b"\x00",
    "zeroed": lambda content: bytes(len(content)),
    "last block zeroed": lambda content: content[:-64] + bytes(64),
    "first bit flipped": lambda content: lowest_bit_flipped(content, 0),
    "middle bit flipped": lambda content: lowest_bit_flipped(content, len(content) // 2),
    "last bit flipped": lambda content: lowest_bit_flipped(content, len(content) - 1),
    "garbage": lambda content: b"garbage",
}
NO_RECORDS = [b"null", b"[]", b"{}", b"5", b'"record"', b'{"checksum": "0"}', b'{"recipe": {}}', b"\xff\xfe"]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_tensors_are_refused_by_their_file_and_the_record_is_still_read(store, damage):
    commit(store)
    name = tensors_name(store)
    store.storage.write(name, damage(store.storage.read(name)))
    for read in (store.fetch, store.check):
        with pytest.raises(CorruptArtifactError, match=r"\.safetensors: expected .*, found ") as raised:
            read("victim", KEY)
        assert str(raised.value).startswith(str(store.root / name))
    assert store.record("victim", KEY).metrics == ARTIFACT.metrics


def test_missing_tensors_are_refused_by_their_file(store):
    commit(store)
    name = tensors_name(store)
    size = len(store.storage.read(name))
    store.storage.remove(name)
    for read in (store.fetch, store.check):
        with pytest.raises(CorruptArtifactError) as raised:
            read("victim", KEY)
        assert str(raised.value) == f"{store.root / name}: expected {size} bytes, found no file"


def assert_record_is_refused(store: Store) -> None:
    for read in (store.fetch, store.check, store.record):
        with pytest.raises(CorruptArtifactError, match=r"record\.json: expected .*, found ") as raised:
            read("victim", KEY)
        assert str(raised.value).startswith(str(store.folder("victim", KEY) / "record.json"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_refused_by_its_file(store, damage):
    commit(store)
    store.storage.write(RECORD_NAME, damage(store.storage.read(RECORD_NAME)))
    assert_record_is_refused(store)


@pytest.mark.parametrize("written", NO_RECORDS, ids=repr)
def test_a_file_that_is_no_record_is_refused(store, written):
    commit(store)
    store.storage.write(RECORD_NAME, written)
    assert_record_is_refused(store)


@pytest.mark.parametrize("part", ["recipe", "metrics", "history", "provenance", "tensors"])
def test_a_record_without_a_part_or_with_another_one_is_refused(store, part):
    commit(store)
    record = json.loads(store.storage.read(RECORD_NAME))
    without = {name: value for name, value in record.items() if name != part}
    for changed in ({**record, part: {"accuracy": 0.99}}, without):
        store.storage.write(RECORD_NAME, json.dumps(changed).encode())
        assert_record_is_refused(store)


@pytest.mark.parametrize("name", ["record.json", "tensors.safetensors"])
def test_cut_anywhere_or_changed_in_any_byte_an_artifact_is_refused(on_disk, name):
    store = on_disk
    # short numbers: the last digits of a long one may change without changing its value
    artifact = Artifact(ARTIFACT.tensors, {"accuracy": 0.5}, [{"loss": 0.25}])
    store.commit("victim", KEY, artifact, recipe={"config": {"lr": 0.1}}, provenance={"seconds": 1.5})
    path = store.folder("victim", KEY) / name
    whole = path.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place], lowest_bit_flipped(whole, place)):
            path.write_bytes(damaged)
            with pytest.raises(CorruptArtifactError, match=name.replace(".", r"\.")):
                store.check("victim", KEY)


def test_set_aside_a_damaged_artifact_is_kept_for_inspection_and_computed_again(store):
    commit(store)
    name = tensors_name(store)
    store.storage.write(name, b"damaged")
    aside = store.set_aside("victim", KEY)
    assert aside.parent == store.root / "aside"
    assert store.storage.read(f"aside/{aside.name}/{name.rpartition('/')[2]}") == b"damaged"
    assert not store.has("victim", KEY)
    assert commit(store) is True
    assert_same_tensors(store.fetch("victim", KEY).tensors, ARTIFACT.tensors)
    assert store.set_aside("victim", KEY) != aside


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


# --- under way --------------------------------------------------------------------------------------------

STATE = State(3, ARTIFACT.tensors, [{"loss": 0.1}, {"loss": 1 / 3}, {"loss": 1e-17}])


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
