"""Augmentation compared with plain loops over images, and with torchvision."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as torchvision

from emma_tune.data.augmentation import augment, random_boxes, resized_crop
from emma_tune.data.randaugment import rand_augment
from emma_tune.training.settings import AUGMENTATIONS
from tests.pictures import photograph

RANDOM = [kind for kind in AUGMENTATIONS if kind != "none"]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    return torch.randint(1, 256, (count, channels, height, width), generator=generator(9)).to(torch.uint8)


def photographs(count: int, height: int, width: int) -> Tensor:
    return torch.stack([torch.from_numpy(photograph(n, height, width)).permute(2, 0, 1) for n in range(count)])


def whole(batch: Tensor, kind: str, source: torch.Generator) -> Tensor:
    """Augments a batch that is seen as it is kept."""
    return augment(batch, kind, source, size=(batch.shape[2], batch.shape[3]))


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
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 32, 32), (1, 3, 4, 4), (0, 1, 8, 8), (5, 3, 12, 20)])
def test_shape_and_type_are_kept_and_the_batch_is_not_written_to(kind, shape):
    batch = images(*shape)
    before = batch.clone()
    out = whole(batch, kind, generator(0))
    assert out.shape == shape
    assert out.dtype == torch.uint8
    assert torch.equal(batch, before)


def test_none_is_the_identity_and_draws_nothing():
    source = generator(0)
    state = source.get_state()
    assert torch.equal(whole(images(), "none", source), images())
    assert torch.equal(source.get_state(), state)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_the_same_seed_gives_the_same_images(kind):
    assert torch.equal(whole(images(), kind, generator(3)), whole(images(), kind, generator(3)))


@pytest.mark.parametrize("kind", RANDOM)
def test_another_seed_and_the_next_draw_give_other_images(kind):
    source = generator(3)
    first, second = whole(images(), kind, source), whole(images(), kind, source)
    assert not torch.equal(first, second)
    assert not torch.equal(first, whole(images(), kind, generator(4)))


# --- shift and flip ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "padding"), [(4, 1), (8, 1), (16, 2), (20, 2), (32, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shift_equals_a_loop_over_images_with_the_same_offsets(channels, side, padding):
    batch = images(10, channels, side, side)
    shifted = whole(batch, "shift", generator(5))
    top, left = torch.randint(0, 2 * padding + 1, (2, 10, 1), generator=generator(5)).squeeze(-1).tolist()
    for image, out, row, column in zip(batch, shifted, top, left, strict=True):
        assert torch.equal(out, padded(image, padding)[:, row : row + side, column : column + side])


def test_every_shifted_image_is_a_crop_of_the_padded_one_and_every_crop_occurs():
    batch = images(1, height=8, width=8).expand(400, 1, 8, 8)
    shifted = whole(batch, "shift", generator(6))
    possible = torch.stack(crops(batch[0], padding=1))
    matches = (shifted[:, None] == possible[None]).flatten(2).all(dim=2)  # (400, 9)
    assert matches.any(dim=1).all()
    assert matches.any(dim=0).all()


def test_channels_move_together():
    batch = images(50).expand(50, 3, 8, 8)
    shifted = whole(batch, "shift", generator(7))
    assert torch.equal(shifted[:, :1].expand_as(shifted), shifted)


def test_flip_only_mirrors_what_shift_gave_and_both_happen():
    shifted = whole(images(200), "shift", generator(8))
    flipped = whole(images(200), "shift_flip", generator(8))
    same = (flipped == shifted).flatten(1).all(dim=1)
    mirrored = (flipped == shifted.flip(-1)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 60 < int(mirrored.sum()) < 140  # half of 200, give or take more than five standard deviations


# --- a view smaller than what is kept ---------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "view"), [(256, 224), (146, 128), (9, 8), (8, 5), (32, 32)])
def test_un_augmented_the_middle_is_seen_as_torchvision_crops_it(kept, view):
    batch = images(3, 3, kept, kept)
    seen = augment(batch, "none", generator(0), size=(view, view))
    assert torch.equal(seen, torchvision.center_crop(batch, view))


@pytest.mark.parametrize("kind", ["shift", "shift_flip"])
def test_shifts_are_of_the_middle_and_padded_with_black(kind):
    batch = images(20, 3, 18, 18)
    seen = augment(batch, kind, generator(5), size=(16, 16))
    assert torch.equal(seen, whole(torchvision.center_crop(batch, 16).contiguous(), kind, generator(5)))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_network_sees_224_pixels_out_of_256(kind):
    assert augment(images(2, 3, 256, 256), kind, generator(1), size=(224, 224)).shape == (2, 3, 224, 224)


def test_crops_are_of_the_whole_and_not_of_the_middle():
    border = torch.full((200, 1, 12, 12), 255, dtype=torch.uint8)
    border[:, :, 2:-2, 2:-2] = 0  # black where the middle is
    seen = augment(border, "crop_flip", generator(1), size=(8, 8), smallest_crop=0.3)
    assert (seen > 0).flatten(1).any(dim=1).float().mean() > 0.9


# --- crops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "size", "smallest"),
    [((32, 32), (32, 32), 0.2), ((64, 64), (56, 56), 0.08), ((40, 60), (32, 32), 0.08), ((64, 64), (40, 56), 1.0)],
)
def test_a_crop_is_torchvisions_box_by_box(kept, size, smallest):
    batch = photographs(40, *kept)
    boxes = random_boxes(40, *kept, smallest, generator(2)).T.tolist()
    cropped = resized_crop(batch, size, smallest, generator(2))
    assert cropped.shape == (40, 3, *size)
    for image, found, (top, left, height, width) in zip(batch, cropped, boxes, strict=True):
        # of whole numbers torchvision interpolates in fixed point, and rounds between rows and columns
        exactly, in_fixed_point = (
            torchvision.resized_crop(pixels, top, left, height, width, list(size), antialias=False)
            for pixels in (image.double(), image)
        )
        assert (found - exactly).abs().max() < 0.501
        assert (found.int() - in_fixed_point.int()).abs().max() <= 1


def test_a_box_of_the_wanted_size_is_taken_as_it_is():
    batch = images(400, 3, 16, 16)
    boxes = random_boxes(400, 16, 16, 0.3, generator(2)).T.tolist()
    cropped = resized_crop(batch, (12, 12), 0.3, generator(2))
    exact = [n for n, (_, _, height, width) in enumerate(boxes) if (height, width) == (12, 12)]
    assert exact
    for n in exact:
        top, left, _, _ = boxes[n]
        assert torch.equal(cropped[n], batch[n, :, top : top + 12, left : left + 12])


@pytest.mark.parametrize("smallest", [0.08, 0.2, 0.9])
def test_boxes_have_the_areas_and_proportions_that_were_asked_for(smallest):
    side = 200
    top, left, height, width = random_boxes(4000, side, side, smallest, generator(3))
    assert min(int(value.min()) for value in (top, left, height - 1, width - 1)) >= 0
    assert max(int((first + length).max()) for first, length in ((top, height), (left, width))) <= side
    # rounding moves each side by half a pixel at most: what was drawn lies between these
    h, w, area = height.double(), width.double(), side**2
    assert ((h + 0.5) * (w + 0.5) >= smallest * area).all()
    assert ((h - 0.5) * (w - 0.5) <= area).all()
    assert ((w + 0.5) / (h - 0.5) >= 3 / 4).all()
    assert ((w - 0.5) / (h + 0.5) <= 4 / 3).all()
    # and comes near both ends
    assert float((h * w).min()) < (0.95 * smallest + 0.05) * area
    assert float((w / h).min()) < (0.8 if smallest < 0.5 else 1)
    assert float((w / h).max()) > (1.25 if smallest < 0.5 else 1)


@pytest.mark.parametrize(("side", "smallest"), [(256, 0.08), (32, 0.2)])
def test_boxes_are_distributed_as_torchvisions_are(side, smallest):
    count = 3000
    ours = random_boxes(count, side, side, smallest, generator(4)).double()
    blank = torch.zeros(1, 1, 1).expand(1, side, side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        drawn = [RandomResizedCrop.get_params(blank, [smallest, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    theirs = torch.tensor(drawn, dtype=torch.float64).T  # top, left, height, width
    measures = (
        lambda boxes: boxes[2] * boxes[3],
        lambda boxes: boxes[3] / boxes[2],
        lambda boxes: boxes[0] / (side - boxes[2]).clamp(min=1),
        lambda boxes: boxes[1] / (side - boxes[3]).clamp(min=1),
    )
    for measure in measures:
        # for two samples of 3,000 this distance (Kolmogorov, Smirnov) is below 0.05 with a chance of 0.999
        assert largest_distance(measure(ours), measure(theirs)) < 0.05


def largest_distance(one: Tensor, other: Tensor) -> float:
    """Of two distribution functions."""
    places = torch.cat((one, other)).unique()
    below = [torch.searchsorted(values.sort().values, places, right=True) / len(values) for values in (one, other)]
    return float((below[0] - below[1]).abs().max())


def test_where_no_box_fits_the_whole_is_taken():
    boxes = random_boxes(300, 10, 100, 0.9, generator(1))  # of 3:4 to 4:3 nothing fits
    assert torch.equal(boxes, torch.tensor([0, 0, 10, 100])[:, None].expand(4, 300))
    batch = images(300, 3, 10, 100)
    assert torch.equal(resized_crop(batch, (10, 100), 0.9, generator(1)), batch)


def test_half_of_the_crops_are_mirrored():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(300, 1, 32, 32).contiguous()  # brighter to the right
    seen = augment(ramp, "crop_flip", generator(1), size=(32, 32), smallest_crop=0.5).int()
    to_the_right = (seen[..., -1] > seen[..., 0]).flatten(1).all(dim=1)
    to_the_left = (seen[..., -1] < seen[..., 0]).flatten(1).all(dim=1)
    assert (to_the_right ^ to_the_left).all()
    assert 105 < int(to_the_left.sum()) < 195


def test_randaugment_goes_on_from_what_crop_and_flip_gave():
    batch, source = photographs(20, 36, 36), generator(6)
    cropped = augment(batch, "crop_flip", source, size=(32, 32), smallest_crop=0.2)
    expected = rand_augment(cropped, source)
    assert torch.equal(augment(batch, "randaugment", generator(6), size=(32, 32), smallest_crop=0.2), expected)
    assert not torch.equal(expected, cropped)
