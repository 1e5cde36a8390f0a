"""One's own arrays in a .npz file: every order of axes, labels of every width, and no pickles."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
import pytest

from emma_tune.data import find
from emma_tune.data.source import DataError, labeled_parts, query_part
from tests.pictures import photograph


def pictures(count: int, channels: int, first: int = 0) -> np.ndarray:
    """(N, H, W, C), higher than wide."""
    drawn = np.stack([photograph(first + n, 9, 7, channels) for n in range(count)])
    return drawn.reshape(count, 9, 7, channels)


def medmnist(channels: int = 1) -> dict[str, np.ndarray]:
    """As MedMNIST's files have it: gray without an axis for channels, labels in a column."""
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 6), ("val", 3), ("test", 4)):
        images = pictures(count, channels, first=len(arrays))
        arrays[f"{part}_images"] = images if channels > 1 else images[..., 0]
        arrays[f"{part}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    return arrays


def parts_of(file, **arrays: np.ndarray):
    np.savez_compressed(file, **arrays)
    return find(f"npz:{file}", None).parts


@pytest.mark.parametrize("channels", [1, 3])
def test_medmnists_names_are_the_three_parts(tmp_path, channels):
    given = medmnist(channels)
    parts = labeled_parts(parts_of(tmp_path / "a.npz", **given), "here")
    assert list(parts) == ["train", "validation", "test"]
    for part, prefix in (("train", "train"), ("validation", "val"), ("test", "test")):
        expected = given[f"{prefix}_images"].reshape(-1, 9, 7, channels).transpose(0, 3, 1, 2)
        assert np.array_equal(parts[part].images, expected)
        assert parts[part].images.dtype == np.uint8
        assert parts[part].labels.dtype == np.int64
        assert parts[part].labels.tolist() == given[f"{prefix}_labels"].ravel().tolist()
        assert len(set(parts[part].names.tolist())) == len(expected)


def test_without_validation_images_half_of_the_test_images_validate(tmp_path):
    given = {name: array for name, array in medmnist().items() if not name.startswith("val")}
    parts = labeled_parts(parts_of(tmp_path / "a.npz", **given), "here")
    assert {part: len(images) for part, images in parts.items()} == {"train": 6, "validation": 2, "test": 2}
    both = np.concatenate([parts["validation"].images, parts["test"].images])[:, 0]
    assert {image.tobytes() for image in both} == {image.tobytes() for image in given["test_images"]}
    for part in (parts["validation"], parts["test"]):
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            row = int(name.removeprefix("test/"))
            assert np.array_equal(image[0], given["test_images"][row])
            assert label == given["test_labels"][row, 0]


@pytest.mark.parametrize(
    ("channels", "axes"),
    [(1, None), (1, (0, 1, 2, 3)), (1, (0, 3, 1, 2)), (3, (0, 1, 2, 3)), (3, (0, 3, 1, 2))],
    ids=["NHW", "NHW1", "N1HW", "NHWC", "NCHW"],
)
def test_axes_may_stand_in_any_usual_order(tmp_path, channels, axes):
    given = pictures(5, channels)
    images = given[..., 0] if axes is None else given.transpose(axes)
    pool = query_part(parts_of(tmp_path / "a.npz", images=images), "here")
    assert np.array_equal(pool.images, given.transpose(0, 3, 1, 2))
    assert pool.images.flags.c_contiguous
    assert pool.labels is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64, ">i4"])
def test_labels_may_be_whole_numbers_of_any_width(tmp_path, dtype):
    given = medmnist() | {"train_labels": np.array([2, 0, 1, 1, 0, 2], dtype=dtype)}
    labels = parts_of(tmp_path / "a.npz", **given)["train"].labels
    assert labels.tolist() == [2, 0, 1, 1, 0, 2]
    assert labels.dtype == np.int64


def test_a_labeled_file_as_a_pool_is_what_it_is_trained_on(tmp_path):
    pool = query_part(parts_of(tmp_path / "a.npz", **medmnist()), "here")
    assert np.array_equal(pool.images[:, 0], medmnist()["train_images"])
    assert pool.labels is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"train_images": medmnist()["train_images"].astype(np.float32)},
            "uint8 of three or four axes, found float32 (6, 9, 7)",
        ),
        (
            {"train_images": medmnist()["train_images"].astype(np.int64)},
            "uint8 of three or four axes, found int64 (6, 9, 7)",
        ),
        ({"train_images": np.zeros((6, 63), np.uint8)}, "uint8 of three or four axes, found uint8 (6, 63)"),
        ({"train_images": np.zeros((6, 9, 7, 4), np.uint8)}, "one or three channels, found shape (6, 9, 7, 4)"),
        ({"train_labels": np.zeros(5, np.uint8)}, "6 whole numbers from 0, found uint8 (5,)"),
        ({"train_labels": np.zeros(6)}, "6 whole numbers from 0, found float64 (6,)"),
        ({"train_labels": np.array([0, 1, -3, 2, -1, 0], np.int8)}, "whole numbers from 0, found -3 in row 2"),
        (
            {"test_labels": np.array([[0], [1], [2], [2**64 - 1]], np.uint64)},
            "whole numbers from 0, found 18446744073709551615 in row 3",
        ),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, "6 whole numbers from 0, found uint8 (6, 14)"),
    ],
)
def test_arrays_of_another_kind_are_refused_by_name(tmp_path, changes, expected):
    (name,) = changes
    with pytest.raises(DataError) as raised:
        parts_of(tmp_path / "a.npz", **(medmnist() | changes))
    assert str(raised.value) == f"{tmp_path / 'a.npz'}: {name}: expected {expected}"


def test_without_labels_there_is_nothing_to_train_on(tmp_path):
    given = medmnist()
    del given["train_labels"]
    with pytest.raises(DataError, match=r"^here: expected labeled images to train, found none$"):
        labeled_parts(parts_of(tmp_path / "a.npz", **given), "here")


def test_a_file_without_images_is_named_with_what_is_in_it(tmp_path):
    with pytest.raises(DataError, match=r"a\.npz: expected images, or train_images, .*, found x, y$"):
        parts_of(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(3))


class Command:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["train_images", "train_labels", "images", "beside"])
def test_a_pickled_object_is_refused_and_not_executed(tmp_path, name):
    file, trace = tmp_path / "a.npz", tmp_path / "executed"
    objects = np.array([Command(f"touch {trace}")], dtype=object)
    np.savez(file, **(medmnist() | {name: objects}))
    with np.load(file, allow_pickle=True) as content:
        _ = content[name]
    assert trace.exists(), "the file must be one that does harm"
    trace.unlink()
    with pytest.raises(DataError, match=r"a\.npz: expected arrays in a \.npz file, found none that can be read"):
        _ = find(f"npz:{file}", None).parts
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_ends_early_is_refused(tmp_path, share):
    file = tmp_path / "a.npz"
    np.savez(file, **medmnist())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"a\.npz: expected arrays in a \.npz file, found none that can be read"):
        _ = find(f"npz:{file}", None).parts


def test_damage_within_the_file_is_noticed(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, **medmnist())
    content = bytearray(file.read_bytes())
    content[content.index(b"train_images.npy") + 200] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: expected "):
        _ = find(f"npz:{file}", None).parts


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    assert find(f"npz:{tmp_path / 'absent.npz'}", None) is None
    assert find(f"npz:{tmp_path}", None) is None


def test_the_stamp_changes_with_the_file(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, **medmnist())
    first = find(f"npz:{file}", None).stamp
    assert find(f"npz:{file}", None).stamp == first
    os.utime(file, (1, 1))
    assert find(f"npz:{file}", None).stamp != first


def test_files_of_another_kind_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, **medmnist())
    whole = file.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros((3, 9, 7), np.uint8))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("images.npy", "no array")
    others = [(tmp_path / name).read_bytes() for name in ("one.npy", "text.zip")]
    for content in [b"", b"text", whole[: len(whole) // 2], whole[:-1], *others]:
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz: expected "):
            _ = find(f"npz:{file}", None).parts


def test_damage_anywhere_is_noticed_or_harmless(tmp_path):
    file, images = tmp_path / "a.npz", pictures(5, 1)[..., 0]
    np.savez_compressed(file, images=images)
    whole = file.read_bytes()
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            found = find(f"npz:{file}", None).parts["queries"].images
        except DataError:
            continue
        assert np.array_equal(found[:, 0], images)


def test_the_array_of_a_pool_is_named_too(tmp_path):
    with pytest.raises(DataError) as raised:
        parts_of(tmp_path / "a.npz", images=np.zeros((6, 63), np.uint8))
    expected = "expected uint8 of three or four axes, found uint8 (6, 63)"
    assert str(raised.value) == f"{tmp_path / 'a.npz'}: images: {expected}"
