"""Images that are not there, or from which nothing can be learned, are named by their place in the study."""

from __future__ import annotations

import re

import numpy as np
import pytest

from emma_tune.data import DATASETS
from emma_tune.data.images import Shape
from emma_tune.plan.materials import look_up
from emma_tune.study.file import StudyError
from tests.pictures import class_tree
from tests.plan.prepared import complaint, npz, prepared, study


@pytest.mark.parametrize("name", [name for name, described in DATASETS.items() if described.place])
def test_a_data_set_that_is_not_there_is_named_with_how_to_get_it(store, tmp_path, name):
    described = DATASETS[name]
    wanted = (name,) if described.labeled else ("digits", name)
    place = "victim.dataset" if described.labeled else "queries.dataset"
    assert complaint(study(*wanted, data_root=str(tmp_path)), store) == (
        f"{place}: expected {name} as {described.place} below {tmp_path}, found none (to get it: {described.get})"
    )
    without = complaint(study(*wanted), store)
    assert without.startswith(
        f"{place}: expected {name} as {described.place}, found none (to get it: {described.get}"
    )
    assert without.endswith("; set data_root in the study, or EMMA_TUNE_DATA)")


@pytest.mark.parametrize("name", ["folder:/nowhere/birds", "npz:/nowhere/birds.npz"])
def test_ones_own_images_that_are_not_there_are_named(store, name):
    expected = f"expected images at {name.partition(':')[2]}, found none there"
    assert complaint(study(name), store) == f"victim.dataset: {expected}"
    assert complaint(study("digits", name), store) == f"queries.dataset: {expected}"


def test_a_pool_trains_no_victim(store, pool, tmp_path):
    (tmp_path / "pool" / "labels.csv").write_text("0.png,crow\n")
    assert complaint(study(pool), store) == (
        f"victim.dataset: {pool}: expected labeled images to train, found 7 images without folders of classes in "
        f"{tmp_path / 'pool'} (files that are not images are left out (.csv 1): labels.csv)"
    )


def test_a_wrong_tree_is_named(store, birds, tmp_path):
    class_tree(tmp_path / "birds", {"test": {"owl": 1}})
    assert complaint(study(birds), store) == (
        f"victim.dataset: {birds}: expected images to train of each class in test/, found none in 'train/owl'"
    )


def test_images_that_are_no_images_are_no_pool(store, birds, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "0.cr2").write_bytes(b"II*\0")
    name = f"folder:{tmp_path / 'raw'}"
    assert complaint(study(birds, name), store) == (
        f"queries.dataset: {name}: expected images, found none "
        "(files that are not images are left out (.cr2 1): 0.cr2)"
    )


def test_a_class_that_is_asked_for_and_not_trained_on_is_named(store, tmp_path):
    name = npz(tmp_path / "a.npz", test_labels=np.array([0, 1, 2, 3, 0, 1]))
    line = "victim.dataset: expected classes that have images to train, found 3 (test/3)"
    assert complaint(study(name), store) == line
    with pytest.raises(StudyError, match=re.escape(line)):
        look_up(study(name), store)


def test_a_single_class_is_nothing_to_tell_apart(store, tmp_path):
    zeros = {f"{part}_labels": np.zeros(count, int) for part, count in (("train", 9), ("val", 3), ("test", 6))}
    name = npz(tmp_path / "a.npz", **zeros)
    assert complaint(study(name), store) == "victim.dataset: expected two classes at least, found 1"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"train_labels": np.array([0, 1, 2, 0, 1, 255, 2, 0, 1])}, "0 … 11 for 4 classes, found 255 (train/5)"),
        (
            {"train_labels": np.array([0, 1, 2, 0, 1, 60_000, 2, 12, 1])},
            "0 … 14 for 5 classes, found 60000 (train/5)",
        ),
        ({"test_labels": np.array([2, 1, 9, 0, 1, 2], np.uint16)}, "0 … 8 for 3 classes, found 9 (test/2)"),
    ],
)
def test_a_label_far_beyond_the_number_of_classes_is_named(store, tmp_path, labels, found):
    name = npz(tmp_path / "a.npz", **labels)
    line = f"victim.dataset: expected labels {found}"
    assert complaint(study(name), store) == line


@pytest.mark.parametrize(
    ("train", "test", "remarks"),
    [
        (
            [1, 2, 3] * 3,
            [1, 2, 3] * 2,
            ["labels without images: 0; networks have an output for each of 0 … 3"],
        ),
        (
            [0, 5, 2] * 3,
            [0, 5, 2] * 2,
            ["labels without images: 1, 3, 4; networks have an output for each of 0 … 5"],
        ),
        (
            [8, 6, 7] * 3,
            [8, 6, 7] * 2,
            ["labels without images: 0, 1, 2, 3, 4 and 1 more; networks have an output for each of 0 … 8"],
        ),
        ([0, 1, 2] * 3, [0, 0, 0, 0, 1, 0], ["classes with images to train, but none to test: 2 (train/2)"]),
        ([0, 1, 2] * 3, [2, 1, 0] * 2, []),
    ],
)
def test_labels_without_images_are_remarked(store, tmp_path, train, test, remarks):
    labels = {"train_labels": np.array(train), "val_labels": np.array(test[:3]), "test_labels": np.array(test)}
    name = npz(tmp_path / "a.npz", **labels)
    expected = tuple(f"{name}: {remark}" for remark in remarks)
    found, images = prepared(study(name), store)
    assert found.remarks == expected
    assert look_up(study(name), store).remarks[: len(expected)] == expected
    assert images["train"].labels.tolist() == train


@pytest.mark.parametrize(
    ("shapes", "size", "found"),
    [
        ({"test": (12, 12, 3)}, None, "found 12×12 gray in train and 12×12 color in test"),
        ({"val": (3, 12, 12)}, 16, "found 12×12 gray in train and 12×12 color in validation"),
        (
            {"val": (14, 12)},
            None,
            "found 12×12 gray in train and 14×12 gray in validation; "
            "with victim.image_size all are brought to one",
        ),
    ],
)
def test_arrays_of_another_shape_than_the_training_images_are_refused(store, tmp_path, shapes, size, found):
    images = {
        f"{part}_images": np.zeros((3 if part == "val" else 6, *of), np.uint8) for part, of in shapes.items()
    }
    wanted = study(npz(tmp_path / "a.npz", **images), victim={"image_size": size})
    line = f"victim.dataset: expected images of one size and color in all parts, {found}"
    assert complaint(wanted, store) == line
    with pytest.raises(StudyError, match=re.escape(line)):
        look_up(wanted, store)


def test_arrays_of_several_sizes_are_brought_to_the_one_asked_for_with_a_remark(store, tmp_path):
    name = npz(tmp_path / "a.npz", val_images=np.zeros((3, 9, 20), np.uint8))
    wanted = study(name, victim={"image_size": 16})
    found, images = prepared(wanted, store)
    assert {of.shape for of in images.values()} == {Shape(1, 16, 16, (16, 16))}
    line = f"{name}: images of 2 sizes, 12×12 to 9×20, are brought to 16×16"
    assert found.remarks == (line,)
    assert prepared(wanted, store)[0].remarks == (line,), "though they have been decoded"
    assert line in look_up(wanted, store).remarks


def test_a_class_whose_images_to_train_cannot_be_read_is_named_with_them(store, birds, pool, tmp_path):
    for file in (tmp_path / "birds" / "train" / "tit").iterdir():
        file.write_bytes(b"")
    *unreadable, last = complaint(study(birds, pool), store).splitlines()
    assert len(unreadable) == 5
    assert unreadable[-1] == f"{birds}: 4 images cannot be read and are left out"
    assert last.startswith("victim.dataset: expected classes that have images to train, found 1 (tit/")
