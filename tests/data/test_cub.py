"""CUB-200-2011's lists: ids and classes count from 1, the split is a list of its own."""

from __future__ import annotations

import numpy as np
import pytest

from emma_tune.data import find
from emma_tune.data.cache import ImageCache, Source
from emma_tune.data.files import decode
from emma_tune.data.images import Shape
from emma_tune.data.pixels import Seen
from emma_tune.data.source import DataError
from tests.pictures import photograph, save

IMAGES = {
    1: ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0),
    2: ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1),
    3: ("002.Laysan_Albatross/Laysan_Albatross_0104_613.jpg", 2, 1),
    4: ("200.Common_Yellowthroat/Common_Yellowthroat_0055_190967.jpg", 200, 0),
    5: ("200.Common_Yellowthroat/Common_Yellowthroat_0049_190708.jpg", 200, 1),
}
"""By id: path, class, whether it is trained on."""


@pytest.fixture(params=["CUB_200_2011", "cub200/CUB_200_2011", "cub200"])
def folder(request, tmp_path):
    place = tmp_path / request.param
    for number, (name, _, _) in IMAGES.items():
        save(place / "images" / name, photograph(number, 20, 30))
    order = [3, 1, 5, 2, 4]  # each list says itself which image a line is about
    (place / "images.txt").write_text("".join(f"{n} {IMAGES[n][0]}\n" for n in IMAGES))
    (place / "image_class_labels.txt").write_text("".join(f"{n} {IMAGES[n][1]}\n" for n in order))
    (place / "train_test_split.txt").write_text("".join(f"{n} {IMAGES[n][2]}\n" for n in reversed(order)))
    (place / "bounding_boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n")
    (place / "images" / "README").write_text("not an image")
    return place


def test_images_classes_and_split_are_those_of_the_lists(folder, tmp_path):
    found = find("cub200", tmp_path)
    assert found.place == folder
    assert set(found.parts) == {"train", "test"}
    for part, flag in (("train", 1), ("test", 0)):
        files = found.parts[part]
        assert files.root == folder / "images"
        assert files.names == tuple(name for name, _, trained in IMAGES.values() if trained == flag)
        assert files.labels.tolist() == [label - 1 for _, label, trained in IMAGES.values() if trained == flag]
        assert files.labels.dtype == np.int64
        out = np.zeros((len(files), 3, 8, 8), np.uint8)
        assert decode(files, Shape.square(8), out, lambda done, total: None, Seen()) == {}


@pytest.mark.parametrize(
    ("name", "wanted"), [("image_class_labels.txt", "a class from 1"), ("train_test_split.txt", "0 or 1")]
)
@pytest.mark.parametrize(("number", "value"), [("3", None), ("3", "-2"), ("3", "bird"), ("1", "٣"), ("4", "")])
def test_an_image_without_a_value_in_a_list_is_named(folder, tmp_path, name, wanted, number, value):
    file = folder / name
    lines = [line for line in file.read_text().splitlines(True) if not line.startswith(f"{number} ")]
    file.write_text("".join([*lines, f"{number} {value}\n" if value else ""]))
    with pytest.raises(DataError) as raised:
        _ = find("cub200", tmp_path).parts
    assert str(raised.value) == (
        f"{file}: expected {wanted} for each image, found {value or 'none'} for image {number}"
    )


def test_classes_that_count_from_0_are_named(folder, tmp_path):
    labels = folder / "image_class_labels.txt"
    labels.write_text("".join(f"{number} {label - 1}\n" for number, (_, label, _) in IMAGES.items()))
    with pytest.raises(DataError) as raised:
        _ = find("cub200", tmp_path).parts
    assert str(raised.value) == (
        f"{labels}: expected a class from 1 for each image, "
        "found 0 for image 1 and 1 more that are wrong or missing"
    )


def test_a_split_that_ends_early_is_named(folder, tmp_path):
    split = folder / "train_test_split.txt"
    split.write_text("".join(f"{number} {IMAGES[number][2]}\n" for number in (1, 2)))
    with pytest.raises(DataError) as raised:
        _ = find("cub200", tmp_path).parts
    assert str(raised.value) == (
        f"{split}: expected 0 or 1 for each image, found none for image 3 and 2 more that are wrong or missing"
    )


def test_images_that_only_the_other_lists_have_are_left_out_with_a_remark(folder, tmp_path):
    found = find("cub200", tmp_path)
    assert (len(found.parts["train"]), found.remarks) == (3, [])
    listed = folder / "images.txt"
    listed.write_text("".join(listed.read_text().splitlines(True)[:3]))
    found = find("cub200", tmp_path)
    assert [len(part) for part in found.parts.values()] == [2, 1]
    assert found.remarks == ["images.txt has 3 of 5 images of the other lists; the others are left out"]


@pytest.mark.parametrize("name", ["images.txt", "image_class_labels.txt", "train_test_split.txt"])
@pytest.mark.parametrize("content", [b"1\n2\n", b"\xff\xfe\x00", None], ids=["one column", "no text", "missing"])
def test_a_list_that_cannot_be_read_is_named(folder, tmp_path, name, content):
    found = find("cub200", tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        _ = found.parts
    assert str(raised.value) == (
        f"{folder / name}: expected a list of lines `id value`, found none that can be read"
    )


def test_without_its_list_of_images_there_is_no_such_set(folder, tmp_path):
    (folder / "images.txt").unlink()
    assert find("cub200", tmp_path) is None
    assert find("cub200", None) is None


def test_an_image_that_is_listed_and_not_there_is_left_out_and_named(folder, tmp_path):
    missing = folder / "images" / IMAGES[3][0]
    missing.unlink()
    found = find("cub200", tmp_path)
    wanted = Source("cub200", found.stamp, lambda: found.parts, Shape.square(8))
    cached = ImageCache(tmp_path / "store").get(wanted, lambda done, total: None)
    assert [bad.file for bad in cached.bad] == [str(missing)]


def test_other_classes_for_the_same_images_are_other_images(folder, tmp_path):
    cache, labels = ImageCache(tmp_path / "store"), folder / "image_class_labels.txt"

    def fingerprint() -> str:
        found = find("cub200", tmp_path)
        wanted = Source("cub200", found.stamp, lambda: found.parts, Shape.square(8))
        return cache.get(wanted, lambda done, total: None).fingerprint

    before = fingerprint()
    labels.write_text(labels.read_text().replace("3 2\n", "3 7\n"))
    assert fingerprint() != before


@pytest.mark.parametrize("name", ["../../outside.jpg", "/outside.jpg", "001.Albatross/../../../outside.jpg"])
def test_a_list_that_leads_elsewhere_is_refused(folder, tmp_path, name):
    (folder / "images.txt").write_text(f"1 {name}\n")
    with pytest.raises(DataError, match=r"images\.txt: expected names below .*images, found '"):
        _ = find("cub200", tmp_path).parts
