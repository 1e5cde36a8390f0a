"""Augmentation held against plain loops over images."""

import pytest
import torch
from torch import Tensor

from emma_tune.config import AUGMENTATIONS
from emma_tune.data.augmentation import augment


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    return torch.randint(1, 256, (count, channels, height, width), generator=generator(9)).to(torch.uint8)


def padded(image: Tensor, padding: int) -> Tensor:
    channels, height, width = image.shape
    field = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
    field[:, padding : padding + height, padding : padding + width] = image
    return field


def crops(image: Tensor, padding: int) -> list[Tensor]:
    _, height, width = image.shape
    field = padded(image, padding)
    sides = range(2 * padding + 1)
    return [field[:, top : top + height, left : left + width] for top in sides for left in sides]


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 32, 32), (1, 3, 4, 4), (0, 1, 8, 8)])
def test_shape_and_type_are_kept_and_the_batch_is_not_written_to(kind, shape):
    batch = images(*shape)
    before = batch.clone()
    out = augment(batch, kind, generator(0))
    assert out.shape == shape
    assert out.dtype == torch.uint8
    assert torch.equal(batch, before)


def test_none_is_the_identity_and_draws_nothing():
    source = generator(0)
    state = source.get_state()
    assert torch.equal(augment(images(), "none", source), images())
    assert torch.equal(source.get_state(), state)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_the_same_seed_gives_the_same_images(kind):
    assert torch.equal(augment(images(), kind, generator(3)), augment(images(), kind, generator(3)))


@pytest.mark.parametrize("kind", [kind for kind in AUGMENTATIONS if kind != "none"])
def test_another_seed_and_the_next_draw_give_other_images(kind):
    source = generator(3)
    first, second = augment(images(), kind, source), augment(images(), kind, source)
    assert not torch.equal(first, second)
    assert not torch.equal(first, augment(images(), kind, generator(4)))


@pytest.mark.parametrize(("side", "padding"), [(4, 1), (8, 1), (16, 2), (20, 2), (32, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shift_equals_a_loop_over_images_with_the_same_offsets(channels, side, padding):
    batch = images(10, channels, side, side)
    shifted = augment(batch, "shift", generator(5))
    top, left = torch.randint(0, 2 * padding + 1, (2, 10, 1), generator=generator(5)).squeeze(-1).tolist()
    for image, out, row, column in zip(batch, shifted, top, left, strict=True):
        assert torch.equal(out, padded(image, padding)[:, row : row + side, column : column + side])


def test_every_shifted_image_is_a_crop_of_the_padded_one_and_every_crop_occurs():
    batch = images(1, height=8, width=8).expand(400, 1, 8, 8)
    shifted = augment(batch, "shift", generator(6))
    possible = torch.stack(crops(batch[0], padding=1))
    matches = (shifted[:, None] == possible[None]).flatten(2).all(dim=2)  # (400, 9)
    assert matches.any(dim=1).all()
    assert matches.any(dim=0).all()


def test_channels_move_together():
    batch = images(50).expand(50, 3, 8, 8)
    shifted = augment(batch, "shift", generator(7))
    assert torch.equal(shifted[:, :1].expand_as(shifted), shifted)


def test_flip_only_mirrors_what_shift_gave_and_both_happen():
    shifted = augment(images(200), "shift", generator(8))
    flipped = augment(images(200), "shift_flip", generator(8))
    same = (flipped == shifted).flatten(1).all(dim=1)
    mirrored = (flipped == shifted.flip(-1)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 60 < int(mirrored.sum()) < 140  # half of 200, give or take more than five standard deviations
