"""Fingerprints, shapes and subsets of images."""

import numpy as np
import pytest
from PIL import Image

from emma_tune.data.embedded import mnist5k
from emma_tune.data.images import ImageSet, fingerprint, match_shape, take_subset

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


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_right_shape_are_untouched_and_lose_their_labels(channels):
    images = drawn(channels)
    matched = match_shape(ImageSet(images, np.arange(20)), channels=channels, height=9, width=7)
    assert np.array_equal(matched.images, images)
    assert matched.images.dtype == np.uint8
    assert matched.labels is None


def test_gray_becomes_color_by_repetition():
    gray = drawn(1)
    color = match_shape(ImageSet(gray), channels=3, height=9, width=7).images
    assert color.shape == (20, 3, 9, 7)
    assert all(np.array_equal(color[:, channel], gray[:, 0]) for channel in range(3))


@pytest.mark.parametrize(
    ("color", "gray"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((10, 20, 30), 18)],
)
def test_color_becomes_gray_by_luma(color, gray):
    image = np.broadcast_to(np.array(color, np.uint8)[None, :, None, None], (1, 3, 4, 4))
    assert np.unique(match_shape(ImageSet(image), channels=1, height=4, width=4).images).tolist() == [gray]


def test_luma_is_pillows_up_to_its_rounding():
    color = drawn(3)
    pillow = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in color]
    matched = match_shape(ImageSet(color), channels=1, height=9, width=7).images[:, 0]
    assert np.abs(matched.astype(int) - np.stack(pillow)).max() <= 1


def test_gray_survives_the_way_to_color_and_back():
    gray = ImageSet(drawn(1))
    there = match_shape(gray, channels=3, height=9, width=7)
    assert np.array_equal(match_shape(there, channels=1, height=9, width=7).images, gray.images)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (5, 40), (20, 8)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_constant_images_stay_constant_at_any_size(channels, size):
    have, wanted = channels
    values = np.array([0, 1, 127, 254, 255], np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (5, have, 20, 20)).copy()
    resized = match_shape(ImageSet(images), channels=wanted, height=size[0], width=size[1]).images
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, np.broadcast_to(values[:, None, None, None], (5, wanted, *size)))


@pytest.mark.parametrize("side", [8, 12, 32])
def test_resizing_real_scans_is_pillows_bilinear_up_to_its_rounding(side):
    scans = ImageSet(mnist5k().images[:50])
    resized = match_shape(scans, channels=1, height=side, width=side).images[:, 0]
    pillow = [
        np.asarray(Image.fromarray(np.ascontiguousarray(scan[0])).resize((side, side), Image.Resampling.BILINEAR))
        for scan in scans.images
    ]
    assert np.abs(resized.astype(int) - np.stack(pillow)).max() <= 1


@pytest.mark.parametrize(("have", "wanted"), [(1, 2), (2, 1), (2, 3), (4, 3), (3, 4), (4, 1)])
def test_channels_without_a_meaning_are_refused_with_both_numbers(have, wanted):
    with pytest.raises(ValueError, match=rf"query pool: expected images of {wanted} channels.*, found {have}$"):
        match_shape(ImageSet(drawn(have)), channels=wanted, height=9, width=7)


# --- take_subset ------------------------------------------------------------------------------------------

POOL = ImageSet(np.arange(100, dtype=np.uint8)[:, None, None, None], np.arange(100))


@pytest.mark.parametrize("limit", [None, 100, 101, 10**6])
def test_without_a_limit_or_with_one_too_large_all_images_are_taken(limit):
    assert np.array_equal(take_subset(POOL, limit).images, POOL.images)


@pytest.mark.parametrize("limit", [1, 2, 50, 99])
def test_a_subset_has_distinct_images_of_the_pool_and_is_always_the_same(limit):
    np.random.seed(limit)  # another source of chance changes nothing
    taken = take_subset(POOL, limit).images
    assert taken.shape == (limit, 1, 1, 1)
    assert taken.dtype == np.uint8
    assert len(set(taken.ravel().tolist())) == limit
    assert np.array_equal(taken, take_subset(POOL, limit).images)


def test_a_smaller_subset_lies_within_a_larger_one_and_is_no_mere_beginning():
    subsets = [set(take_subset(POOL, limit).images.ravel().tolist()) for limit in (10, 20, 60)]
    assert subsets[0] < subsets[1] < subsets[2]
    assert subsets[0] != set(range(10))
