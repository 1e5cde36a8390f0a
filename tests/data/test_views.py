"""Augmented views: asked in order, the same whenever they are asked, each drawn by its own number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emma_tune.data.augmentation import augment
from emma_tune.data.batches import DRAWN, AugmentedViews, Images
from emma_tune.data.images import ImageSet

N = 2 * DRAWN + 7


def images(count: int = N, side: int = 8, view: tuple[int, int] | None = None) -> Images:
    drawn = np.random.default_rng(1).integers(0, 256, (count, 1, side, side), dtype=np.uint8)
    return Images(ImageSet(drawn, view=view))


def chance(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 + number)


def views(
    of: Images, *, count: int = 3, augmentation: str = "shift_flip", smallest_crop: float = 0.08
) -> AugmentedViews:
    return AugmentedViews(of, count=count, augmentation=augmentation, smallest_crop=smallest_crop, chance=chance)


@pytest.mark.parametrize("batch_size", [1, 5, DRAWN - 1, DRAWN, DRAWN + 1, 512])
@pytest.mark.parametrize("augmentation", ["shift", "crop_flip", "randaugment"])
def test_the_views_do_not_depend_on_the_batch_size(batch_size, augmentation):
    asked = views(images(DRAWN + 9), augmentation=augmentation, count=2)
    whole = torch.cat(list(asked.plain(512)))
    batches = list(asked.plain(batch_size))
    assert max(map(len, batches)) <= batch_size
    assert torch.equal(torch.cat(batches), whole)


def test_all_first_views_come_before_the_second_ones_each_of_a_chance_of_its_own():
    of = images()
    asked = torch.cat(list(views(of).plain(50)))
    assert len(asked) == len(views(of)) == 3 * N
    for number in range(3):
        generator = chance(number)
        expected = [
            augment(of.batch(rows), "shift_flip", generator, size=(8, 8)) for rows in torch.arange(N).split(DRAWN)
        ]
        assert torch.equal(asked[number * N : (number + 1) * N], torch.cat(expected))
    first, second, third = asked.split(N)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_more_views_are_the_same_ones_and_others_behind_them():
    few, more = (torch.cat(list(views(images(), count=count).plain(512))) for count in (2, 4))
    assert torch.equal(few, more[: len(few)])


def test_without_augmentation_a_view_is_the_middle_of_the_image_as_a_network_sees_it():
    of = images(30, side=10, view=(8, 6))
    (plain,) = of.plain(512)
    assert plain.shape == (30, 1, 8, 6)
    asked = torch.cat(list(views(of, augmentation="none").plain(7)))
    assert torch.equal(asked, plain.repeat(3, 1, 1, 1))


def test_crops_keep_as_much_of_the_image_as_is_asked_for():
    of = images(40)
    whole, cropped = (
        torch.cat(list(views(of, augmentation="crop_flip", smallest_crop=least).plain(512)))
        for least in (0.999, 0.05)
    )
    (plain,) = of.plain(512)
    either_way = (whole.view(3, 40, 1, 8, 8) == plain) | (whole.view(3, 40, 1, 8, 8) == plain.flip(-1))
    assert either_way.flatten(2).all(dim=2).float().mean() > 0.95, "almost all of it: as it was, or mirrored"
    assert not torch.equal(whole, cropped)


def test_views_of_no_image_are_none():
    assert len(views(images(0))) == 0
    assert sum(len(batch) for batch in views(images(0)).plain(10)) == 0
