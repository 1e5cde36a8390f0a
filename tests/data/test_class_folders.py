"""Trees of class folders: labels follow the sorted names of the classes, whatever else lies about."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from emma_tune.data import class_folders, find
from emma_tune.data.files import Files
from emma_tune.data.listing import LeftOut, Listing
from emma_tune.data.source import DataError, labeled_parts, query_part
from tests.pictures import class_tree, photograph, save


def listed(files: Files) -> dict[str, int]:
    """Names with their labels."""
    assert files.labels.dtype == np.int64
    return dict(zip(files.names, files.labels.tolist(), strict=True))


def parts_of(folder: Path) -> dict[str, Files]:
    return find(f"folder:{folder}", None).parts


def read(folder: Path) -> tuple[dict[str, Files], list[str]]:
    """Parts and remarks."""
    found = find(f"folder:{folder}", None)
    return found.parts, found.remarks


# --- labeled ----------------------------------------------------------------------------------------------


def test_labels_follow_the_sorted_names_of_the_classes(tmp_path):
    class_tree(
        tmp_path, {"train": {"wren": 2, "Crow": 1, "10 tit": 1, "2 owl": 2}, "test": {"wren": 1, "Crow": 1}}
    )
    parts = parts_of(tmp_path)
    assert set(parts) == {"train", "test"}
    assert parts["train"].root == tmp_path / "train"
    assert listed(parts["train"]) == {
        "10 tit/0.png": 0, "2 owl/0.png": 1, "2 owl/1.png": 1, "Crow/0.png": 2, "wren/0.png": 3, "wren/1.png": 3,
    }  # fmt: skip
    assert listed(parts["test"]) == {"Crow/0.png": 2, "wren/0.png": 3}


def test_a_part_may_miss_a_class_and_the_others_keep_their_labels(tmp_path):
    class_tree(tmp_path, {"train": {"a": 1, "b": 1, "c": 1}, "test": {"b": 0, "c": 2}})
    parts, remarks = read(tmp_path)
    assert listed(parts["test"]) == {"c/0.png": 2, "c/1.png": 2}
    assert remarks == []


def test_a_folder_without_an_image_is_no_class_and_is_named(tmp_path):
    class_tree(tmp_path, {"train": {"a": 1, "b": 0, "c": 1}, "test": {"a": 1, "c": 1, "old": 0}})
    parts, remarks = read(tmp_path)
    assert listed(parts["train"]) == {"a/0.png": 0, "c/0.png": 1}
    assert listed(parts["test"]) == {"a/0.png": 0, "c/0.png": 1}
    assert remarks == ["folders without an image are no classes: train/b, test/old"]


def test_what_is_no_image_and_what_is_hidden_is_left_out_and_named(tmp_path):
    class_tree(tmp_path, {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}})
    clean = {name: listed(part) for name, part in parts_of(tmp_path).items()}
    for junk in ("train/README", "train/a/.DS_Store", "train/a/notes.txt", "train/b/x.png.part", "test/b/.x.png"):
        (tmp_path / junk).write_text("not an image")
    class_tree(tmp_path, {"train": {".cache": 1, "a/.thumbs": 1}, "test": {"@eaDir": 1, "lost+found": 0}})
    (tmp_path / "train" / "index.png").write_text("an image of no class")
    parts, remarks = read(tmp_path)
    assert {name: listed(part) for name, part in parts.items()} == clean
    assert remarks == [
        "files that are not images are left out (.txt 1, .part 1, no ending 1): "
        "train/a/notes.txt, train/b/x.png.part, train/README",
        "folders that are hidden or belong to a system are left out: "
        "train/.cache, train/a/.thumbs, test/@eaDir, test/lost+found",
        "images outside the folders of classes are left out: train/index.png",
    ]


def test_folders_within_a_class_are_of_that_class(tmp_path):
    class_tree(tmp_path, {"train": {"a": 1, "a/young": 2, "b": 1}, "test": {"a": 1}})
    assert listed(parts_of(tmp_path)["train"]) == {
        "a/0.png": 0, "a/young/0.png": 0, "a/young/1.png": 0, "b/0.png": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        (
            {"train": {"a": 1, "b": 1}, "test": {"a": 1, "z": 1, "y": 1}},
            "test/, found none in 'train/y', 'train/z'",
        ),
        ({"train": {"a": 1, "b": 0, "c": 1}, "test": {"b": 2, "c": 1}}, "test/, found none in 'train/b'"),
        ({"train": {"a": 1, "b": 1}, "val": {"c": 1}, "test": {"b": 1}}, "val/, found none in 'train/c'"),
        (
            {"train": {"Owl": 1, "tit": 1}, "test": {"owl": 1, "tit\N{NO-BREAK SPACE}": 1}},
            "test/, found none in 'train/owl' (there is 'train/Owl'), 'train/tit\\xa0' (there is 'train/tit')",
        ),
        (
            {"train": {"a": 1}, "test": dict.fromkeys("bcdefgh", 1)},
            "test/, found none in 'train/b', 'train/c', 'train/d', 'train/e', 'train/f' and 2 more",
        ),
    ],
)
def test_a_class_that_the_victim_could_not_know_is_refused_and_named(tmp_path, tree, found):
    class_tree(tmp_path, tree)
    with pytest.raises(DataError) as raised:
        labeled_parts(parts_of(tmp_path), "here")
    assert str(raised.value) == f"here: expected images to train of each class in {found}"
    assert len(query_part(parts_of(tmp_path), "here")) == sum(tree["train"].values()), (
        "for a pool it does not matter"
    )


def test_a_name_in_two_unicode_forms_is_one_class(tmp_path):
    one, two = "pi\N{LATIN SMALL LETTER N WITH TILDE}a", "pin\N{COMBINING TILDE}a"
    class_tree(tmp_path, {"train": {one: 1, two: 2, "pine": 1, "pit": 1}, "test": {two: 1, "pit": 1, "pine": 1}})
    parts, remarks = read(tmp_path)
    assert listed(parts["train"]) == {
        "pine/0.png": 0, f"{two}/0.png": 1, f"{two}/1.png": 1, f"{one}/0.png": 1, "pit/0.png": 2,
    }  # fmt: skip
    assert listed(parts["test"]) == {"pine/0.png": 0, f"{two}/0.png": 1, "pit/0.png": 2}
    assert remarks == [f"names in two Unicode forms are taken for one class: {one}"]


def test_an_image_that_links_put_into_two_classes_is_named(tmp_path):
    class_tree(tmp_path, {"train": {"a": 2, "b": 1}, "test": {"a": 1, "b": 1}})
    (tmp_path / "train" / "b" / "more").symlink_to("../a")
    (tmp_path / "train" / "c").symlink_to("b")
    parts, remarks = read(tmp_path)
    assert listed(parts["train"]) == {
        "a/0.png": 0, "a/1.png": 0,
        "b/0.png": 1, "b/more/0.png": 1, "b/more/1.png": 1,
        "c/0.png": 2, "c/more/0.png": 2, "c/more/1.png": 2,
    }  # fmt: skip
    assert remarks == [
        "images are in two classes: train/b/more/0.png is train/a/0.png, train/b/more/1.png is train/a/1.png, "
        "train/c/0.png is train/b/0.png, train/c/more/0.png is train/a/0.png, train/c/more/1.png is train/a/1.png"
    ]


def test_a_link_back_is_followed_into_no_class(tmp_path):
    class_tree(tmp_path, {"train": {"a/young": 1, "b": 2}, "test": {"a": 1, "b": 1}})
    (tmp_path / "train" / "a" / "young" / "all").symlink_to(tmp_path)
    (tmp_path / "train" / "b" / "up").symlink_to("../../train")
    (tmp_path / "train" / "b" / "self").symlink_to(".")
    parts, remarks = read(tmp_path)
    assert listed(parts["train"]) == {"a/young/0.png": 0, "b/0.png": 1, "b/1.png": 1}
    assert remarks == [
        "links to a folder above them, or to what is listed already, are left out: "
        "train/a/young/all, train/b/self, train/b/up"
    ]


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_a_validation_folder_is_used_by_any_of_its_names(tmp_path, name):
    class_tree(tmp_path, {"train": {"a": 2, "b": 2}, name: {"b": 1}, "test": {"a": 1, "b": 2}})
    parts = labeled_parts(parts_of(tmp_path), "here")
    assert {part: len(files) for part, files in parts.items()} == {"train": 4, "validation": 1, "test": 3}
    assert listed(parts["validation"]) == {"b/0.png": 1}


def test_without_one_a_fixed_half_of_the_test_images_validates(tmp_path):
    class_tree(tmp_path, {"train": {"a": 2, "b": 2}, "test": {"a": 5, "b": 6}})
    parts = labeled_parts(parts_of(tmp_path), "here")
    assert {part: len(files) for part, files in parts.items()} == {"train": 4, "validation": 5, "test": 6}
    halves = [listed(parts[name]) for name in ("validation", "test")]
    assert not set(halves[0]) & set(halves[1])
    assert halves[0] | halves[1] == listed(parts_of(tmp_path)["test"])
    again = labeled_parts(parts_of(tmp_path), "here")
    assert [listed(again[name]) for name in ("validation", "test")] == halves
    assert set(halves[0].values()) == set(halves[1].values()) == {0, 1}, "a half is no mere beginning"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"train": {"a": 0}, "test": {"a": 2}}, "labeled images to train, found none"),
        ({"train": {"a": 2}}, "labeled images to test, found none"),
        ({"train": {"a": 2}, "test": {"a": 0}}, "labeled images to test, found none"),
        ({"train": {"a": 2}, "test": {"a": 1}}, "two test images at least, one to validate with, found 1"),
    ],
)
def test_a_part_without_images_is_named(tmp_path, tree, expected):
    class_tree(tmp_path, tree)
    with pytest.raises(DataError, match=rf"^here: expected {expected}$"):
        labeled_parts(parts_of(tmp_path), "here")


# --- pools ------------------------------------------------------------------------------------------------


def test_any_folder_of_images_is_a_pool(tmp_path):
    class_tree(tmp_path, {"": {"b": 2, "a": 1}, "deep/er": {"c": 1}})
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "top.JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    found = find(f"folder:{tmp_path}", None)
    files = query_part(found.parts, "here")
    assert files.root == found.place == tmp_path
    assert files.names == ("top.JPEG", "a/0.png", "b/0.png", "b/1.png", "deep/er/c/0.png")
    assert files.labels is None


def test_a_labeled_set_as_a_pool_is_what_it_is_trained_on_without_labels(tmp_path):
    class_tree(tmp_path, {"train": {"a": 2, "b": 1}, "test": {"a": 1}})
    files = query_part(find(f"folder:{tmp_path}", None).parts, "here")
    assert files.names == ("a/0.png", "a/1.png", "b/0.png")
    assert files.labels is None


def test_an_empty_pool_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^here: expected images, found none$"):
        query_part(parts_of(tmp_path), "here")


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    assert find(f"folder:{tmp_path / 'absent'}", None) is None


# --- official trees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["256_ObjectCategories", "caltech256/256_ObjectCategories", "caltech256"])
def test_caltech256_is_all_images_of_all_folders(tmp_path, place):
    class_tree(tmp_path / place, {"": {"001.ak47": 2, "257.clutter": 1, "056.dog": 1}}, suffix=".jpg")
    files = find("caltech256", tmp_path).parts["queries"]
    assert files.names == ("001.ak47/0.jpg", "001.ak47/1.jpg", "056.dog/0.jpg", "257.clutter/0.jpg")
    assert files.root == tmp_path / place


def test_caltech256_as_torchvision_unpacks_it_is_only_its_images(tmp_path):
    class_tree(tmp_path / "caltech256/256_ObjectCategories", {"": {"001.ak47": 1}}, suffix=".jpg")
    (tmp_path / "caltech256" / "256_ObjectCategories.tar").write_bytes(b"")
    assert find("caltech256", tmp_path).parts["queries"].names == ("001.ak47/0.jpg",)


@pytest.mark.parametrize("place", ["imagenet_{}", "ImageNet_{}"])
@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "cub200"])
def test_of_an_imagenet_subset_the_training_images_are_asked(tmp_path, kind, place):
    folder = tmp_path / place.format(kind if place.islower() else kind.upper())
    class_tree(folder, {"train": {"n01": 2, "n02": 1}, "val": {"n01": 3}}, suffix=".JPEG")
    files = find(f"imagenet_{kind}", tmp_path).parts["queries"]
    assert files.names == ("n01/0.JPEG", "n01/1.JPEG", "n02/0.JPEG")
    assert files.root == folder / "train"
    assert files.labels is None


def test_imagenet_cub200_is_cut_by_the_reference_generator(tmp_path, monkeypatch):
    class_tree(tmp_path / "imagenet_cub200", {"train": {"n01": 9, "n02": 8, "n10": 6}}, side=1)
    whole = Listing(tmp_path / "imagenet_cub200" / "train", LeftOut()).names
    for limit in (1, 10, 22, 23, 30_000):
        monkeypatch.setattr(class_folders, "IMAGENET_CUB200_LIMIT", limit)
        files = find("imagenet_cub200", tmp_path).parts["queries"]
        order = np.arange(23)
        np.random.RandomState(1).shuffle(order)
        assert files.names == tuple(whole[row] for row in sorted(order[:limit]))


@pytest.mark.parametrize("name", ["caltech256", "imagenet_cifar10", "imagenet_cifar100", "imagenet_cub200"])
def test_what_is_not_below_the_root_is_not_found(tmp_path, name):
    assert find(name, tmp_path) is None
    assert find(name, None) is None


# --- stamps -----------------------------------------------------------------------------------------------


def test_the_stamp_of_a_tree_changes_with_its_files_and_opens_none(tmp_path):
    class_tree(tmp_path, {"train": {"a": 1, "b": 1}, "test": {"a": 1}})
    stamps = [find(f"folder:{tmp_path}", None).stamp]
    assert find(f"folder:{tmp_path}", None).stamp == stamps[0]
    file = tmp_path / "test" / "a" / "0.png"

    def changed() -> None:
        stamps.append(find(f"folder:{tmp_path}", None).stamp)

    file.write_bytes(file.read_bytes() + b"\0")
    changed()
    os.utime(file, (1, 1))
    changed()
    file.rename(file.with_name("1.png"))
    changed()
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "train" / "a" / "1.png")
    changed()
    assert len(set(stamps)) == len(stamps)
    before = stamps[-1]
    (tmp_path / "train" / "README").write_text("no image")
    changed()
    assert stamps[-1] == before


def test_images_without_classes_below_train_are_a_pool(tmp_path):
    for number in range(3):
        save(tmp_path / "mine" / "train" / f"{number}.png", photograph(number, 8, 8))
    assert len(find(f"folder:{tmp_path / 'mine'}", None).parts["queries"]) == 3
