"""Images reach a network as they lie in their array, mapped or not: whole for augmentation, else their middle."""

import json
import os

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap
from torchvision.transforms.v2.functional import center_crop as torchvisions_crop

from emma_tune.data.augmentation import center_crop
from emma_tune.data.batches import Images
from emma_tune.data.cache import ImageCache, Source
from emma_tune.data.images import ImageSet, Shape

PIXELS = np.random.default_rng(1).integers(0, 256, (23, 3, 10, 12), dtype=np.uint8)
KEPT = ImageSet(PIXELS, view=(8, 7))


@pytest.fixture(params=["in memory", "mapped"])
def images(request, tmp_path):
    if request.param == "in memory":
        return Images(KEPT)
    cache = ImageCache(tmp_path)
    cached = cache.get(Source("mine", "1", lambda: {"queries": KEPT}, None), lambda done, total: None)
    return Images(cache.load(cached.fingerprint)["queries"])


def test_a_batch_is_the_images_as_they_are_kept_in_the_order_asked_for(images):
    assert len(images) == 23
    assert images.shape == Shape(3, 10, 12, (8, 7))
    for indices in ([], [5], [22, 0, 7, 7], list(range(23))):
        batch = images.batch(torch.tensor(indices, dtype=torch.long))
        assert batch.dtype == torch.uint8
        assert np.array_equal(batch.numpy(), PIXELS[indices])


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_the_plain_view_is_the_middle_of_every_image_in_order(images, batch_size):
    batches = list(images.plain(batch_size))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert torch.equal(torch.cat(batches), torchvisions_crop(torch.from_numpy(PIXELS), [8, 7]))


def test_a_batch_is_a_copy(images):
    images.batch(torch.tensor([3])).zero_()
    assert np.array_equal(images.batch(torch.tensor([3]))[0].numpy(), PIXELS[3])


@pytest.mark.parametrize(
    ("have", "want"), [((5, 5), (4, 4)), ((7, 9), (4, 4)), ((6, 8), (3, 5)), ((4, 4), (4, 4))]
)
def test_the_middle_is_torchvisions(have, want):
    batch = torch.arange(have[0] * have[1]).view(1, 1, *have)
    assert torch.equal(center_crop(batch, want), torchvisions_crop(batch, list(want)))


def test_a_set_larger_than_memory_is_read_by_the_batch(tmp_path):
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shape = Shape.square(224)
    count = 2 * memory // (3 * 256 * 256)
    folder = tmp_path / "images" / "large"
    folder.mkdir(parents=True)
    array = open_memmap(
        folder / "queries.images.npy", "w+", np.uint8, (count, 3, 256, 256)
    )  # takes no room: holes
    array[-1] = 7
    array.flush()
    statistics = {"mean": [0.5] * 3, "std": [0.5] * 3}
    about = {"parts": {"queries": {"view": shape.view, "statistics": statistics}}}
    (folder / "about.json").write_text(json.dumps(about))
    images = Images(ImageCache(tmp_path).load("large")["queries"])
    assert (len(images), images.shape) == (count, shape)
    batch = images.batch(torch.tensor([count - 1, 0, count // 2]))
    assert batch.amax(dim=(1, 2, 3)).tolist() == batch.amin(dim=(1, 2, 3)).tolist() == [7, 0, 0]
    assert next(images.plain(4)).shape == (4, 3, 224, 224)
