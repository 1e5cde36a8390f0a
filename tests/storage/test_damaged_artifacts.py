"""What is damaged in a store is named by its file, refused, and set aside."""

import json
from collections.abc import Callable

import pytest

from emma_tune.storage.artifact import Artifact
from emma_tune.storage.store import CorruptArtifactError, Store
from tests.storage.artifacts import (
    ARTIFACT,
    KEY,
    RECORD_NAME,
    assert_same_tensors,
    commit,
    tensors_name,
)


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
