"""Fingerprints, shapes, statistics and subsets of images."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from emma_tune.data.embedded import mnist5k
from emma_tune.data.images import ImageSet, Shape, few_of_each, fingerprint, match_shape, subset
from tests.pictures import photograph

ARRAYS = {
    "train.images": np.arange(48, dtype=np.uint8).reshape(3, 1, 4, 4),
    "train.labels": np.array([2, 0, 1], dtype=np.int64),
}


def drawn(channels: int, height: int = 9, width: int = 7, count: int = 20) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


# --- fingerprint ------------------------------------------------------------------------------------------


def test_a_fingerprint_is_32_hexadecimal_digits_and_repeatable():
    first = fingerprint(ARRAYS)
    assert first == fingerprint({name: array.copy() for name, array in ARRAYS.items()})
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")


def test_order_of_the_mapping_does_not_count():
    assert fingerprint(ARRAYS) == fingerprint(dict(reversed(ARRAYS.items())))


def test_layout_in_memory_does_not_count():
    strided = np.repeat(ARRAYS["train.images"], 2, axis=3)[..., ::2]
    assert not strided.flags.c_contiguous
    assert fingerprint({**ARRAYS, "train.images": strided}) == fingerprint(ARRAYS)


@pytest.mark.parametrize(
    "changed",
    [
        {**ARRAYS, "train.labels": ARRAYS["train.labels"].astype(np.int32)},
        {**ARRAYS, "train.labels": ARRAYS["train.labels"].view(np.uint64)},
        {**ARRAYS, "train.labels": ARRAYS["train.labels"].astype(">i8")},
        {**ARRAYS, "train.images": ARRAYS["train.images"].reshape(3, 1, 2, 8)},
        {**ARRAYS, "train.images": ARRAYS["train.images"].reshape(3, 4, 4)},
        {"test.images": ARRAYS["train.images"], "train.labels": ARRAYS["train.labels"]},
        {"train.images": ARRAYS["train.images"]},
        {**ARRAYS, "test.images": np.zeros((0, 1, 4, 4), np.uint8)},
    ],
    ids=["width", "sign", "byte order", "sides", "axes", "name", "an array less", "an empty array more"],
)
def test_type_shape_and_name_count(changed):
    assert fingerprint(changed) != fingerprint(ARRAYS)


def test_every_byte_counts():
    prints = {fingerprint(ARRAYS)}
    for name, array in ARRAYS.items():
        for place in range(array.nbytes):
            copy = array.copy()
            copy.reshape(-1).view(np.uint8)[place] ^= 1
            prints.add(fingerprint({**ARRAYS, name: copy}))
    assert len(prints) == 1 + sum(array.nbytes for array in ARRAYS.values())


# --- match_shape ------------------------------------------------------------------------------------------


def whole(channels: int, height: int, width: int) -> Shape:
    """Seen as they are kept."""
    return Shape(channels, height, width, (height, width))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_right_shape_are_untouched_and_keep_labels_and_names(channels):
    images, names = drawn(channels), np.array([f"row {row}" for row in range(20)])
    matched = match_shape(ImageSet(images, np.arange(20), names), whole(channels, 9, 7))
    assert np.array_equal(matched.images, images)
    assert matched.images.dtype == np.uint8
    assert np.array_equal(matched.labels, np.arange(20))
    assert np.array_equal(matched.names, names)
    assert matched.shape == whole(channels, 9, 7)


def test_images_are_seen_as_the_wanted_shape_says():
    matched = match_shape(ImageSet(drawn(1)), Shape(3, 16, 16, view=(14, 12)))
    assert matched.images.shape == (20, 3, 16, 16)
    assert matched.shape == Shape(3, 16, 16, view=(14, 12))


def test_gray_becomes_color_by_repetition():
    gray = drawn(1)
    color = match_shape(ImageSet(gray), whole(3, 9, 7)).images
    assert color.shape == (20, 3, 9, 7)
    assert all(np.array_equal(color[:, channel], gray[:, 0]) for channel in range(3))


@pytest.mark.parametrize(
    ("color", "gray"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((10, 20, 30), 18)],
)
def test_color_becomes_gray_by_luma(color, gray):
    image = np.broadcast_to(np.array(color, np.uint8)[None, :, None, None], (1, 3, 4, 4))
    assert np.unique(match_shape(ImageSet(image), whole(1, 4, 4)).images).tolist() == [gray]


def test_luma_is_pillows_up_to_its_rounding():
    color = drawn(3)
    pillow = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in color]
    matched = match_shape(ImageSet(color), whole(1, 9, 7)).images[:, 0]
    assert np.abs(matched.astype(int) - np.stack(pillow)).max() <= 1


def test_gray_survives_the_way_to_color_and_back():
    gray = ImageSet(drawn(1))
    there = match_shape(gray, whole(3, 9, 7))
    assert np.array_equal(match_shape(there, whole(1, 9, 7)).images, gray.images)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (5, 40), (20, 8)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_constant_images_stay_constant_at_any_size(channels, size):
    have, wanted = channels
    values = np.array([0, 1, 127, 254, 255], np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (5, have, 20, 20)).copy()
    resized = match_shape(ImageSet(images), whole(wanted, *size)).images
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, np.broadcast_to(values[:, None, None, None], (5, wanted, *size)))


@cache
def real_scans() -> np.ndarray:
    return mnist5k(None).parts["queries"].images


@pytest.mark.parametrize("side", [8, 12, 32])
def test_resizing_real_scans_is_pillows_bilinear_up_to_its_rounding(side):
    scans = ImageSet(real_scans()[:50])
    resized = match_shape(scans, whole(1, side, side)).images[:, 0]
    pillow = [
        np.asarray(Image.fromarray(np.ascontiguousarray(scan[0])).resize((side, side), Image.Resampling.BILINEAR))
        for scan in scans.images
    ]
    assert np.abs(resized.astype(int) - np.stack(pillow)).max() <= 1


@pytest.mark.parametrize(("have", "wanted"), [(1, 2), (2, 1), (2, 3), (4, 3), (3, 4), (4, 1)])
def test_channels_without_a_meaning_are_refused_with_both_numbers(have, wanted):
    with pytest.raises(ValueError, match=rf"query pool: expected images of {wanted} channels.*, found {have}$"):
        match_shape(ImageSet(drawn(have)), whole(wanted, 9, 7))


@pytest.mark.parametrize("wanted", [(8, 8), (12, 6), (6, 12), (20, 30)])
@pytest.mark.parametrize("have", [(20, 20), (9, 21), (21, 9)])
def test_what_sticks_out_is_cut_off_on_both_sides_and_the_rest_resized_as_pillow_does(have, wanted):
    pictures = np.stack([photograph(seed, *have).transpose(2, 0, 1) for seed in range(3)])
    matched = match_shape(ImageSet(pictures), whole(3, *wanted)).images
    height, width = have
    rows, columns = (
        min(height, round(width * wanted[0] / wanted[1])),
        min(width, round(height * wanted[1] / wanted[0])),
    )
    top, left = (height - rows) // 2, (width - columns) // 2
    for picture, found in zip(pictures, matched, strict=True):
        cut = Image.fromarray(picture.transpose(1, 2, 0)).crop((left, top, left + columns, top + rows))
        resized = np.asarray(cut.resize(wanted[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(found.astype(int) - resized).max() <= 1


def test_sets_larger_than_a_chunk_are_matched_as_a_whole(monkeypatch):
    at_once = match_shape(ImageSet(drawn(3)), whole(1, 6, 6)).images
    monkeypatch.setattr("emma_tune.data.images.CHUNK_BYTES", 7)
    assert np.array_equal(match_shape(ImageSet(drawn(3)), whole(1, 6, 6)).images, at_once)


# --- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_all_pixels_kept(channels, chunk, monkeypatch):
    monkeypatch.setattr("emma_tune.data.images.CHUNK_BYTES", chunk)
    images = ImageSet(drawn(channels), view=(4, 4))
    pixels = images.images.astype(np.float64).swapaxes(0, 1).reshape(channels, -1) / 255
    assert images.statistics.mean == pytest.approx(tuple(pixels.mean(axis=1)), rel=1e-12)
    assert images.statistics.std == pytest.approx(tuple(pixels.std(axis=1, ddof=1)), rel=1e-12)


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "kept"), [(8, 8), (32, 32), (64, 64), (127, 127), (128, 146), (224, 256), (384, 439)]
)
def test_photographs_get_a_margin_and_small_images_none(side, kept):
    assert Shape.square(side) == Shape(3, kept, kept, (side, side))


# --- subset -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 100, 101, 10**6])
def test_without_a_limit_or_with_one_too_large_all_images_are_taken(limit):
    assert np.array_equal(subset(100, limit), np.arange(100))


@pytest.mark.parametrize("limit", [1, 2, 50, 99])
def test_a_subset_has_distinct_images_in_order_and_is_always_the_same(limit):
    np.random.seed(limit)  # another source of chance changes nothing
    taken = subset(100, limit)
    assert taken.shape == (limit,)
    assert taken.dtype == np.intp
    assert len(set(taken.tolist())) == limit
    assert np.array_equal(taken, np.sort(taken))
    assert np.array_equal(taken, subset(100, limit))


def test_a_smaller_subset_lies_within_a_larger_one_and_is_no_mere_beginning():
    subsets = [set(subset(100, limit).tolist()) for limit in (10, 20, 60)]
    assert subsets[0] < subsets[1] < subsets[2]
    assert subsets[0] != set(range(10))


@pytest.mark.parametrize("limit", [*range(6, 45), 108])
def test_a_subset_of_labeled_images_misses_no_class(limit):
    labels = np.where(UNEVEN == 3, 6, UNEVEN)
    labels[np.flatnonzero(labels == 0)[7]] = 3  # one image, as 5 has
    taken = subset(109, limit, labels)
    assert len(taken) == limit
    assert np.array_equal(taken, np.unique(taken)), "each once, in order"
    assert set(labels[taken]) == set(labels)
    plain = subset(109, limit)
    if set(labels[plain]) == set(labels):
        assert np.array_equal(taken, plain), "as without labels where that misses none"
    assert set(taken) <= set(subset(109, limit + 1, labels))
    assert len(set(taken) - set(plain)) <= 5, "no more others than there are classes that would be missed"


def test_a_subset_of_few_classes_is_the_plain_one():
    labels = np.arange(2000) % 10
    for limit in (60, 200, 1999):
        assert np.array_equal(subset(2000, limit, labels), subset(2000, limit))


def test_what_is_taken_keeps_its_labels_names_and_view():
    pool = ImageSet(drawn(1), np.arange(20), np.array([f"row {row}" for row in range(20)]), view=(5, 6))
    rows = subset(20, 6)
    taken = pool.take(rows)
    assert np.array_equal(taken.images, pool.images[rows])
    assert taken.labels.tolist() == rows.tolist()
    assert taken.names.tolist() == [f"row {row}" for row in rows]
    assert taken.shape == Shape(1, 9, 7, view=(5, 6))


# --- a few of each class ----------------------------------------------------------------------------------

UNEVEN = np.array([0] * 40 + [1] * 3 + [2] * 5 + [4] * 60 + [5])[np.random.default_rng(7).permutation(109)]
"""Class 3 has no image, 1 and 5 have fewer than five."""


@pytest.mark.parametrize("count", [1, 2, 5, 30, 1000])
def test_so_many_of_each_class_are_taken_and_fewer_where_there_are_not_so_many(count):
    taken = few_of_each(UNEVEN, count)
    assert taken.dtype == np.intp
    assert np.array_equal(taken, np.unique(taken)), "each once, in order"
    sizes = {0: 40, 1: 3, 2: 5, 3: 0, 4: 60, 5: 1}
    assert np.bincount(UNEVEN[taken], minlength=6).tolist() == [min(count, sizes[label]) for label in range(6)]


def test_the_few_are_the_first_of_each_class_in_the_order_of_subsets():
    taken = set(few_of_each(UNEVEN, 5).tolist())
    orderly = [(set(subset(109, n + 1).tolist()) - set(subset(109, n).tolist())).pop() for n in range(109)]
    expected = {index for label in range(6) for index in [i for i in orderly if UNEVEN[i] == label][:5]}
    assert taken == expected
    assert not taken >= set(np.flatnonzero(UNEVEN == 4)[:5].tolist()), "no mere beginning"


def test_the_few_are_always_the_same():
    np.random.seed(3)  # another source of chance changes nothing
    before = UNEVEN.copy()
    assert np.array_equal(few_of_each(UNEVEN, 5), few_of_each(UNEVEN, 5))
    assert np.array_equal(few_of_each(UNEVEN.astype(np.int16), 5), few_of_each(UNEVEN, 5))
    assert np.array_equal(UNEVEN, before)


def test_fewer_of_each_class_lie_within_more():
    few = [set(few_of_each(UNEVEN, count).tolist()) for count in (1, 2, 5, 41)]
    assert few[0] < few[1] < few[2] < few[3]


@pytest.mark.parametrize("renamed", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [10, 300, 20, 0, 7, 90]])
def test_what_classes_are_called_does_not_count(renamed):
    assert np.array_equal(few_of_each(np.array(renamed)[UNEVEN], 5), few_of_each(UNEVEN, 5))
