"""RandAugment is Pillow's operations, image by image, at a strength for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor

from emma_tune.data import randaugment
from emma_tune.data.randaugment import OPERATIONS, cutout, rand_augment
from tests.pictures import photograph

Pillow = Callable[[Image.Image, float], Image.Image]


def affine(image: Image.Image, *row: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, row)


def pillow_cutout(image: Image.Image, share: float, center: tuple[float, float]) -> Image.Image:
    """`share` of the width; `center` vertical and horizontal, in pixels."""
    image, side = image.copy(), share * image.width
    if side <= 0:
        return image
    left, top = (int(max(0, middle - side / 2)) for middle in (center[1], center[0]))
    right, bottom = min(image.width, left + side), min(image.height, top + side)
    color = Image.new("RGB", (1, 1), (125, 123, 114)).convert(image.mode).getpixel((0, 0))
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), color)
    return image


PUBLISHED: dict[str, tuple[Pillow, float, float]] = {
    "autocontrast": (lambda image, v: ImageOps.autocontrast(image), 0, 1),
    "brightness": (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.05, 0.95),
    "color": (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.05, 0.95),
    "contrast": (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.05, 0.95),
    "equalize": (lambda image, v: ImageOps.equalize(image), 0, 1),
    "identity": (lambda image, v: image, 0, 1),
    "posterize": (lambda image, v: ImageOps.posterize(image, max(1, int(v))), 4, 8),
    "rotate": (lambda image, v: image.rotate(v), -30, 30),
    "sharpness": (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.05, 0.95),
    "shear_x": (lambda image, v: affine(image, 1, v, 0, 0, 1, 0), -0.3, 0.3),
    "shear_y": (lambda image, v: affine(image, 1, 0, 0, v, 1, 0), -0.3, 0.3),
    "solarize": (lambda image, v: ImageOps.solarize(image, v), 0, 256),
    "translate_x": (lambda image, v: affine(image, 1, 0, v * image.width, 0, 1, 0), -0.3, 0.3),
    "translate_y": (lambda image, v: affine(image, 1, 0, 0, 0, 1, v * image.height), -0.3, 0.3),
}
"""FixMatch's operations by name, and the range of their strengths."""

ALMOST = {"autocontrast": 0.005, "rotate": 0.001}
"""Share of the pixels that may be another: where a sum of doubles falls on another side of a whole number."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    drawn = np.stack([photograph(seed, height, width, channels) for seed in range(count)])
    drawn = drawn.reshape(count, height, width, channels)
    # of low contrast, as real photographs may be, every second one
    drawn[::2] = 40 + drawn[::2] // 2
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()


def to_pillow(image: Tensor) -> Image.Image:
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def from_pillow(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def strengths(count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator(3))


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", range(14), ids=PUBLISHED)
def test_an_operation_is_pillows(number, channels, size):
    name, (pillow, low, high) = list(PUBLISHED.items())[number]
    operation, *_ = OPERATIONS[number]
    images, strength = batch(120, channels, *size), strengths(120, low, high)
    before = images.clone()
    found = operation(images, strength)
    assert found.dtype == torch.uint8
    assert torch.equal(images, before)
    pairs = zip(images, strength.tolist(), strict=True)
    expected = torch.stack([from_pillow(pillow(to_pillow(image), v)) for image, v in pairs])
    different = found != expected
    if name == "autocontrast":
        assert (found.int() - expected.int()).abs().max() <= 1
    assert float(different.float().mean()) <= ALMOST.get(name, 0)
    if name != "identity" and not (name == "color" and channels == 1):
        assert not torch.equal(found, images)


def test_the_ranges_are_fixmatchs():
    assert [(low, high) for _, low, high in OPERATIONS] == [(low, high) for _, low, high in PUBLISHED.values()]


@pytest.mark.parametrize("number", range(14), ids=PUBLISHED)
@pytest.mark.parametrize("value", [0, 77, 255])
def test_an_image_of_one_color_is_treated_as_pillow_does(number, value):
    pillow, low, high = list(PUBLISHED.values())[number]
    image = torch.full((1, 3, 16, 16), value, dtype=torch.uint8)
    strength = 0.25 * low + 0.75 * high
    found = OPERATIONS[number][0](image, torch.tensor([strength]))
    assert torch.equal(found[0], from_pillow(pillow(to_pillow(image[0]), strength)))


@pytest.mark.parametrize("number", range(14), ids=PUBLISHED)
def test_every_image_is_treated_for_itself(number):
    operation, low, high = OPERATIONS[number]
    images, strength = batch(9), strengths(9, low, high)
    together = operation(images, strength)
    for row in range(9):
        assert torch.equal(operation(images[row : row + 1], strength[row : row + 1])[0], together[row])


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (40, 24)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_cutout_is_pillows_rectangle(channels, size):
    images = batch(200, channels, *size)
    share = 0.5 * torch.rand(200, generator=generator(4))
    share[0] = 0
    center = torch.rand(2, 200, generator=generator(5))
    found = cutout(images, share, center)
    for image, cut, v, (y, x) in zip(images, found, share.tolist(), center.T.tolist(), strict=True):
        expected = pillow_cutout(to_pillow(image), v, (y * size[0], x * size[1]))
        assert torch.equal(cut, from_pillow(expected))
    assert torch.equal(found[0], images[0])


# --- the draw ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_is_three_operations_and_a_cutout_of_pillows(channels):
    count = 150
    images, source = batch(count, channels), generator(6)
    found = rand_augment(images, generator(6))
    expected = [to_pillow(image) for image in images]
    for _ in range(3):
        chosen = torch.randint(14, (count,), generator=source).tolist()
        strength = torch.rand(count, generator=source).tolist()
        for row, (number, u) in enumerate(zip(chosen, strength, strict=True)):
            pillow, low, high = list(PUBLISHED.values())[number]
            expected[row] = pillow(expected[row], low + (high - low) * u)
    share = (0.5 * torch.rand(count, generator=source)).tolist()
    center = (32 * torch.rand(2, count, generator=source)).T.tolist()
    for row in range(count):
        expected[row] = pillow_cutout(expected[row], share[row], tuple(center[row]))
    different = found != torch.stack([from_pillow(image) for image in expected])
    # what one operation sees a little differently, the next may make more of
    assert float(different.float().mean()) < 0.005
    assert float(different.flatten(1).any(dim=1).float().mean()) < 0.3


def test_the_same_generator_gives_the_same_images_and_the_batch_is_not_written_to():
    images = batch(40)
    before = images.clone()
    source = generator(7)
    first, second = rand_augment(images, source), rand_augment(images, source)
    assert torch.equal(first, rand_augment(images, generator(7)))
    assert not torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8


def test_an_empty_batch_stays_empty():
    assert rand_augment(batch(1)[:0], generator(1)).shape == (0, 3, 32, 32)


def test_every_operation_is_drawn_as_often_at_strengths_from_all_of_its_range(monkeypatch):
    seen: dict[int, list[Tensor]] = {}

    def watched(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        def operation(images: Tensor, strength: Tensor) -> Tensor:
            seen.setdefault(number, []).append(strength)
            return OPERATIONS[number][0](images, strength)

        return operation

    table = tuple((watched(number), low, high) for number, (_, low, high) in enumerate(OPERATIONS))
    monkeypatch.setattr(randaugment, "OPERATIONS", table)
    count = 4000
    rand_augment(torch.zeros(count, 1, 4, 4, dtype=torch.uint8), generator(8))
    drawn = Counter({number: sum(map(len, strength)) for number, strength in seen.items()})
    assert drawn.total() == 3 * count
    for number, (_, low, high) in enumerate(OPERATIONS):
        # of 12,000 draws at 1/14 the standard deviation is 28
        assert abs(drawn[number] - 3 * count / 14) < 5 * 28
        strength = (torch.cat(seen[number]) - low) / (high - low)
        assert float(strength.min()) >= 0
        assert float(strength.max()) <= 1
        quarters = torch.histc(strength, bins=4, min=0, max=1) / len(strength)
        assert (quarters - 0.25).abs().max() < 0.08  # five standard deviations


def test_a_cutout_lies_anywhere_and_covers_up_to_half_of_the_width(monkeypatch):
    monkeypatch.setattr(randaugment, "ROUNDS", 0)
    images = torch.zeros(3000, 3, 32, 32, dtype=torch.uint8)
    covered = rand_augment(images, generator(9)).permute(0, 2, 3, 1)
    assert covered.reshape(-1, 3).unique(dim=0).tolist() == [[0, 0, 0], [125, 123, 114]]
    inside = covered[..., 0] > 0
    widths = inside.any(dim=1).sum(dim=1)
    assert int(widths.max()) == 16  # from one whole number to another that is less than 16 on, both included
    assert (inside.float().mean(dim=0) > 0.01).all()
