"""Images that were decoded are known again, and decoded again where they or their files have changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emma_tune.data.cache import ImageCache
from emma_tune.data.images import Shape
from tests.data.cached import SEEN, SMALL, everything, expected, get, source
from tests.pictures import class_tree, photograph, save


def test_the_second_time_no_image_file_is_opened(cache, tree):
    cached, _ = get(cache, source(tree))
    for file in tree.rglob("*.png"):
        found = file.stat()
        file.write_bytes(bytes(found.st_size))
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert cache.known(source(tree)) == cached
    assert get(cache, source(tree)) == (cached, False)


def test_to_look_makes_nothing(cache, tree, tmp_path):
    assert cache.known(source(tree)) is None
    assert not (tmp_path / "store").exists()
    get(cache, source(tree))
    before = everything(tmp_path / "store")
    assert cache.known(source(tree)) is not None
    assert everything(tmp_path / "store") == before


def test_a_changed_file_is_decoded_again(cache, tree):
    first, _ = get(cache, source(tree))
    save(tree / "train" / "a" / "0.png", photograph(99, 8, 8))
    second, decoded = get(cache, source(tree))
    assert decoded
    assert second.fingerprint != first.fingerprint
    assert np.array_equal(
        cache.load(second.fingerprint)["train"].images[0].transpose(1, 2, 0), photograph(99, 8, 8)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: save(tree / "train" / "a" / "9.png", photograph(99, 8, 8)),
        lambda tree: (tree / "train" / "a" / "0.png").unlink(),
        lambda tree: (tree / "train" / "a" / "0.png").rename(tree / "train" / "b" / "9.png"),
    ],
    ids=["one more", "one less", "of another class"],
)
def test_another_list_of_files_is_decoded_again(cache, tree, change):
    first, _ = get(cache, source(tree))
    change(tree)
    second, decoded = get(cache, source(tree))
    assert decoded
    assert second.fingerprint != first.fingerprint


def test_the_same_files_in_another_shape_are_decoded_again(cache, tree):
    fingerprints = set()
    for shape in (SMALL, SEEN, Shape.square(6), Shape.square(8, channels=1), Shape(3, 8, 6, view=(8, 6))):
        cached, decoded = get(cache, source(tree, shape))
        assert decoded
        assert cache.load(cached.fingerprint)["train"].shape == shape
        fingerprints.add(cached.fingerprint)
    assert len(fingerprints) == 5


def test_a_touched_file_becomes_the_same_arrays(cache, tree):
    first, _ = get(cache, source(tree))
    os.utime(tree / "train" / "a" / "0.png", (1, 1))
    second, decoded = get(cache, source(tree))
    assert decoded
    assert second == first


def test_a_copied_cache_is_known(cache, tree, tmp_path):
    cached, _ = get(cache, source(tree))
    shutil.copytree(tmp_path / "store", tmp_path / "copy", copy_function=shutil.copyfile)
    copy = ImageCache(tmp_path / "copy")
    shutil.rmtree(tmp_path / "store")
    assert copy.known(source(tree)) == cached
    assert get(copy, source(tree)) == (cached, False)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a pixel": ("train.images.npy", flipped),
    "a label": ("test.labels.npy", lambda file: np.save(file, np.zeros(5, np.int64))),
    "cut short": ("train.images.npy", lambda file: os.truncate(file, 200)),
    "images gone": ("test.images.npy", Path.unlink),
    "labels gone": ("test.labels.npy", Path.unlink),
    "its note cut short": ("about.json", lambda file: os.truncate(file, 40)),
    "its note gone": ("about.json", Path.unlink),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_decoded_again(cache, tree, tmp_path, name, damage):
    cached, _ = get(cache, source(tree))
    file = tmp_path / "store" / "images" / cached.fingerprint / name
    before = expected(tree, source(tree).parts["train"])
    damage(file)
    assert cache.known(source(tree)) is None
    assert get(cache, source(tree)) == (cached, True)
    assert get(cache, source(tree)) == (cached, False)
    assert np.array_equal(cache.load(cached.fingerprint)["train"].images, before)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"fingerprint": "f00d", "bad": [], "remarks": []}', b'"text"']
)
def test_a_damaged_note_of_a_source_is_written_again(cache, tree, tmp_path, content):
    cached, _ = get(cache, source(tree))
    note = tmp_path / "store" / "images" / "sources" / f"{source(tree).id}.json"
    whole = note.read_bytes()
    note.write_bytes(content)
    assert cache.known(source(tree)) is None
    assert get(cache, source(tree)) == (cached, True)
    assert note.read_bytes() == whole


def test_an_array_that_is_no_array_is_never_unpickled(cache, tree, tmp_path):
    cached, _ = get(cache, source(tree))
    file = tmp_path / "store" / "images" / cached.fingerprint / "train.labels.npy"
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        cache.load(cached.fingerprint)
    assert get(cache, source(tree)) == (cached, True)


def test_what_is_not_there_is_not_found(cache):
    with pytest.raises(FileNotFoundError):
        cache.load("f00d")


def test_an_array_cut_to_nothing_is_decoded_again(cache, tree, tmp_path):
    cached, _ = get(cache, source(tree))
    (tmp_path / "store" / "images" / cached.fingerprint / "train.labels.npy").write_bytes(b"")
    assert cache.known(source(tree)) is None
    assert get(cache, source(tree)) == (cached, True)


def test_an_empty_folder_beside_the_classes_changes_nothing(cache, tmp_path):
    tree = class_tree(tmp_path / "tree", {"train": {"a": 2, "c": 2}, "test": {"a": 2, "c": 2}})
    first, _ = get(cache, source(tree))
    (tree / "train" / "b").mkdir()
    again, decoded = get(cache, source(tree))
    assert again == first
    assert not decoded
    assert cache.load(again.fingerprint)["train"].labels.tolist() == [0, 0, 1, 1]
