"""Folders of images that are laid out nearly as expected are taken, saying so, or refused, saying what to name."""

from __future__ import annotations

from pathlib import Path

import pytest

from emma_tune.data import find
from emma_tune.data.source import DataError, labeled_parts, query_part
from tests.pictures import class_tree

CLASSES = {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("folders", "remarks"),
    [
        (("train", "test"), []),
        (("TRAIN", "TEST"), ["TRAIN/ is taken for train/", "TEST/ is taken for test/"]),
        (("training", "Testing"), ["training/ is taken for train/", "Testing/ is taken for test/"]),
        (("train", "valid"), ["valid/ is taken for test/"]),
        (("Train", "validation"), ["Train/ is taken for train/", "validation/ is taken for test/"]),
        (
            ("train", "val", "test", "valid", "Test"),
            [
                "Test/ is left out, since test/ is taken for test/",
                "val/ is left out, since valid/ is taken for validation/",
            ],
        ),
    ],
)
def test_folders_of_parts_that_are_only_named_differently_are_taken(tmp_path, folders, remarks):
    class_tree(tmp_path, dict.fromkeys(folders, CLASSES))
    found = find(f"folder:{tmp_path}", None)
    parts = labeled_parts(found.parts, "here")
    assert sorted(found.remarks) == sorted(remarks)
    assert parts["train"].root == tmp_path / folders[0]
    assert len(query_part(found.parts, "here")) == 4
    assert sum(len(part) for part in parts.values()) == (12 if len(folders) > 2 else 8)


def complaint(folder: Path) -> str:
    """Say what is wrong with a victim's images, without the words that are always the same."""
    where = f"folder:{folder}"
    with pytest.raises(DataError) as raised:
        labeled_parts(find(where, None).parts, where)
    return str(raised.value).removeprefix(f"{where}: expected labeled images to ")


def test_one_folder_too_deep_is_named(tmp_path):
    class_tree(tmp_path, {"birds/set/train": CLASSES, "birds/set/test": CLASSES, "__MACOSX/birds": CLASSES})
    expected = f"train, found them in {tmp_path / 'birds' / 'set'}; name that folder"
    assert complaint(tmp_path) == expected
    (tmp_path / "README").write_text("beside it")
    assert complaint(tmp_path) == expected


def test_the_folder_of_a_part_is_one_too_low(tmp_path):
    class_tree(tmp_path, {"Train": CLASSES, "Test": CLASSES})
    assert complaint(tmp_path / "Test") == f"train, found one part, {tmp_path / 'Test'}; name the folder above it"


def test_classes_that_are_not_divided_are_named(tmp_path):
    class_tree(tmp_path, {"": dict.fromkeys("gfedcba", 2)})
    assert complaint(tmp_path) == (
        f"train, found 14 images in a, b, c, d, e and 2 more, but no train/<class>/ in {tmp_path}"
    )
    class_tree(tmp_path / "half", {"test": CLASSES})
    assert (
        complaint(tmp_path / "half")
        == f"train, found 4 images in test, but no train/<class>/ in {tmp_path / 'half'}"
    )


def test_images_without_classes_are_counted(tmp_path):
    """As in Kaggle's CIFAR-10, with labels in a table beside them."""
    class_tree(tmp_path, {"": {"train": 3, "test": 2}})
    (tmp_path / "trainLabels.csv").write_text("id,label\n0,frog\n")
    assert complaint(tmp_path) == f"train, found 3 images without folders of classes in {tmp_path / 'train'}"
    found = find(f"folder:{tmp_path}", None)
    assert len(query_part(found.parts, "here")) == 3, "they are a pool"


def test_no_image_at_all_is_none(tmp_path):
    assert complaint(tmp_path) == "train, found none"


def test_a_folder_named_training_may_be_a_class_of_a_pool(tmp_path):
    class_tree(tmp_path, {"": {"training/indoors": 2, "racing/outdoors": 3}})
    assert len(query_part(find(f"folder:{tmp_path}", None).parts, "here")) == 5


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "birds.zip").write_bytes(b"PK\3\4")
    with pytest.raises(DataError) as raised:
        find(f"folder:{tmp_path / 'birds.zip'}", None)
    assert str(raised.value) == (
        f"{tmp_path / 'birds.zip'}: expected a folder of images, found a file; unpack it if it is an archive"
    )
