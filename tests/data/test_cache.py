"""Decoded once, then mapped: what is on disk is what was decoded, or it is decoded again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emma_tune.data.arrays import parts_fingerprint
from emma_tune.data.cache import Cached, ImageCache, Source
from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.source import DataError
from tests.data.cached import SEEN, TREE, ProgressRecorder, everything, expected, get, source
from tests.pictures import class_tree, photograph

# --- what is kept -----------------------------------------------------------------------------------------


def test_what_is_mapped_is_what_was_decoded(cache, tree):
    wanted = source(tree, SEEN)
    cached, decoded = get(cache, wanted)
    assert decoded
    assert cached.bad == ()
    parts = cache.load(cached.fingerprint)
    assert list(parts) == list(wanted.parts)
    for name, part in parts.items():
        files = wanted.parts[name]
        assert isinstance(part.images, np.memmap)
        assert np.array_equal(part.images, expected(tree, files))
        assert part.images.dtype == np.uint8
        assert part.labels.tolist() == files.labels.tolist()
        assert part.labels.dtype == np.int64
        assert part.names.tolist() == list(files.names)
        assert part.shape == SEEN


def test_arrays_are_kept_as_they_are_or_in_the_wanted_shape(cache):
    images = np.stack([photograph(n, 12, 12).transpose(2, 0, 1) for n in range(5)])
    given = ImageSet(images, np.arange(5), np.array(list("abcde")))
    plain, _ = get(cache, Source("mine", "1", lambda: {"train": given}, None))
    kept = cache.load(plain.fingerprint)["train"]
    assert isinstance(kept.images, np.memmap)
    assert np.array_equal(kept.images, images)
    assert kept.labels.tolist() == [0, 1, 2, 3, 4]
    assert kept.names.tolist() == list("abcde")
    pool, _ = get(cache, Source("mine", "1", lambda: {"queries": ImageSet(images)}, Shape(1, 6, 6, view=(4, 4))))
    kept = cache.load(pool.fingerprint)["queries"]
    assert kept.images.shape == (5, 1, 6, 6)
    assert kept.shape.view == (4, 4)
    assert kept.labels is None
    assert kept.names is None


def test_statistics_are_kept_and_those_of_all_pixels(cache, tree):
    cached, _ = get(cache, source(tree, SEEN))
    for part in cache.load(cached.fingerprint).values():
        assert part.counted is not None
        pixels = np.asarray(part.images, dtype=np.float64).swapaxes(0, 1).reshape(3, -1) / 255
        assert part.statistics.mean == pytest.approx(tuple(pixels.mean(axis=1)), rel=1e-12)
        assert part.statistics.std == pytest.approx(tuple(pixels.std(axis=1, ddof=1)), rel=1e-12)


def test_mapped_arrays_cannot_be_written(cache, tree):
    cached, _ = get(cache, source(tree))
    part = cache.load(cached.fingerprint)["train"]
    for array in (part.images, part.labels, part.names):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = array[::-1]


def test_nothing_is_left_but_arrays_and_notes(cache, tree, tmp_path):
    cached, _ = get(cache, source(tree))
    files = {name for name in everything(tmp_path / "store") if not name.endswith(".lock")}
    arrays = {f"{part}.{what}.npy" for part in ("train", "test") for what in ("images", "labels", "names")}
    assert files == {
        *(f"images/{cached.fingerprint}/{name}" for name in (*arrays, "about.json")),
        f"images/sources/{source(tree).id}.json",
    }
    for name in files:
        if name.endswith(".npy"):
            np.load(tmp_path / "store" / name, allow_pickle=False)
        else:
            json.loads((tmp_path / "store" / name).read_bytes())


def test_progress_counts_all_parts(cache, tmp_path):
    tree = class_tree(tmp_path / "tree", {"train": {"a": 100}, "test": {"a": 30}}, side=2)
    recorder = ProgressRecorder()
    cache.get(source(tree), recorder)
    assert recorder.calls == [(64, 130), (100, 130), (130, 130)]


# --- broken images ----------------------------------------------------------------------------------------


def test_labels_and_names_stay_with_their_images_when_others_are_left_out(cache, tree):
    wanted = source(tree)
    whole = {name: expected(tree, part) for name, part in wanted.parts.items()}
    (tree / "train" / "a" / "1.png").write_text("no image")
    (tree / "train" / "b" / "0.png").write_bytes(b"")
    (tree / "test" / "b" / "2.png").write_bytes((tree / "test" / "b" / "2.png").read_bytes()[:100])
    cached, _ = get(cache, source(tree))
    assert [Path(bad.file).relative_to(tree).as_posix() for bad in cached.bad] == [
        "train/a/1.png", "train/b/0.png", "test/b/2.png",
    ]  # fmt: skip
    for name, gone in (("train", {1, 4}), ("test", {4})):
        rows = [row for row in range(len(wanted.parts[name])) if row not in gone]
        part = cache.load(cached.fingerprint)[name]
        assert np.array_equal(part.images, whole[name][rows])
        assert part.labels.tolist() == wanted.parts[name].labels[rows].tolist()
        assert part.names.tolist() == [wanted.parts[name].names[row] for row in rows]
    again, decoded = get(cache, source(tree))
    assert not decoded
    assert again == cached  # also reported to later processes


def test_a_part_of_which_nothing_can_be_read_is_named_and_leaves_nothing(cache, tree, tmp_path):
    for file in (tree / "test").rglob("*.png"):
        file.write_text("no image")
    with pytest.raises(DataError, match=r"^mine: expected images to test, found none that can be read$"):
        get(cache, source(tree))
    assert not list((tmp_path / "store").rglob("*.npy"))
    assert cache.known(source(tree)) is None


# --- identity ---------------------------------------------------------------------------------------------


def test_names_and_places_are_no_part_of_what_images_are(cache, tree, tmp_path):
    moved = class_tree(tmp_path / "another" / "place", TREE)
    for number, file in enumerate(sorted(moved.rglob("*.png"))):
        file.rename(file.with_name(f"bird {number:02}.png"))
    (moved / "train" / "a").rename(moved / "train" / "A")
    (moved / "test" / "a").rename(moved / "test" / "A")
    cached, _ = get(cache, source(tree))
    again, decoded = get(cache, replace(source(moved), name="another"))
    assert decoded  # their contents are not known before
    assert again.fingerprint == cached.fingerprint
    for wanted in (source(tree), replace(source(moved), name="another")):
        assert not get(cache, wanted)[1]


def test_arrays_and_files_of_the_same_pixels_are_the_same(cache, tree):
    files = source(tree).parts
    arrays = {name: ImageSet(expected(tree, part), part.labels) for name, part in files.items()}
    assert get(cache, Source("arrays", "1", lambda: arrays, None))[0] == get(cache, source(tree))[0]


def test_pixels_labels_parts_order_and_view_are_what_images_are():
    images = np.stack([photograph(n, 6, 6).transpose(2, 0, 1) for n in range(4)])
    labels = np.array([0, 1, 0, 1])
    base = {"train": ImageSet(images, labels)}
    other = images.copy()
    other[2, 1, 3, 3] ^= 1
    variants = [
        base,
        {"train": ImageSet(other, labels)},
        {"train": ImageSet(images, np.array([0, 1, 1, 1]))},
        {"train": ImageSet(images)},
        {"train": ImageSet(images, labels, view=(4, 4))},
        {"train": ImageSet(images, labels, view=(4, 5))},
        {"test": ImageSet(images, labels)},
        {"train": base["train"].take(np.array([1, 0, 3, 2]))},
        {**base, "test": ImageSet(images, labels)},
    ]
    assert len({parts_fingerprint(parts) for parts in variants}) == len(variants)
    named = ImageSet(images, labels, np.array(list("abcd")))
    assert parts_fingerprint({"train": named}) == parts_fingerprint(base)


# --- several at once, and sudden ends ---------------------------------------------------------------------


def want(root: Path, tree: Path, barrier: Barrier, results: Any) -> None:
    cache, recorder = ImageCache(root), ProgressRecorder()
    barrier.wait()
    results.put((cache.get(source(tree), recorder).fingerprint, len(recorder.calls)))


def test_of_processes_that_want_the_same_images_at_once_one_decodes_them(tmp_path):
    tree = class_tree(tmp_path / "tree", {"train": {"a": 150, "b": 100}, "test": {"a": 2, "b": 2}}, side=16)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(3), spawn.Queue()
    processes = [spawn.Process(target=want, args=(tmp_path / "store", tree, barrier, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=240) for _ in processes]
    for process in processes:
        process.join(timeout=240)
        assert process.exitcode == 0
    assert len({fingerprint for fingerprint, _ in found}) == 1
    assert sorted(calls for _, calls in found)[:2] == [0, 0]
    assert max(calls for _, calls in found) == 5  # 250 files in four chunks, and one of four files
    assert get(ImageCache(tmp_path / "store"), source(tree)) == (Cached(found[0][0]), False)


class GivenUpError(Exception):
    """Raised by a callback to give up."""


def test_a_decoding_that_is_given_up_leaves_nothing_half_done(cache, tree, tmp_path):
    def give_up(done: int, total: int) -> None:
        if done > 7:  # in the second part
            raise GivenUpError

    with pytest.raises(GivenUpError):
        cache.get(source(tree), give_up)
    assert not list((tmp_path / "store").rglob("*.npy"))
    assert not list((tmp_path / "store" / "incoming").iterdir())
    assert cache.known(source(tree)) is None
    assert get(cache, source(tree))[1]


def die(root: Path, tree: Path) -> None:
    ImageCache(root).get(source(tree), lambda done, total: os.kill(os.getpid(), signal.SIGKILL))


def test_a_decoder_that_is_killed_is_in_no_ones_way(cache, tree, tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=die, args=(tmp_path / "store", tree))
    process.start()
    process.join(timeout=240)
    assert process.exitcode == -signal.SIGKILL
    left = list((tmp_path / "store").rglob("*.npy"))
    assert left
    assert all(file.is_relative_to(tmp_path / "store" / "incoming") for file in left)
    assert cache.known(source(tree)) is None
    for folder in (tmp_path / "store" / "incoming").iterdir():
        os.utime(folder, (0, 0))  # long ago: abandoned
    cached, decoded = get(cache, source(tree))
    assert decoded
    assert not list((tmp_path / "store" / "incoming").iterdir())
    assert np.array_equal(
        cache.load(cached.fingerprint)["train"].images, expected(tree, source(tree).parts["train"])
    )
