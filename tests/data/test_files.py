"""Image files become arrays as Pillow and torchvision decode, crop and resize them; what is broken is named."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from emma_tune.data.batches import Images
from emma_tune.data.files import BadImage, Files, decode
from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.listing import LeftOut, Listing
from emma_tune.data.pixels import Seen
from tests.pictures import photograph, save


def decoded(folder: Path, names: list[str], shape: Shape) -> tuple[np.ndarray, dict[int, BadImage]]:
    out = np.zeros((len(names), shape.channels, shape.height, shape.width), np.uint8)
    return out, decode(Files(folder, tuple(names)), shape, out, lambda done, total: None, Seen())


def one(path: Path, shape: Shape) -> np.ndarray:
    """(H, W, C), or (H, W) of one channel."""
    out, bad = decoded(path.parent, [path.name], shape)
    assert bad == {}
    return out[0].transpose(1, 2, 0) if shape.channels == 3 else out[0, 0]


def soft(height: int, width: int) -> np.ndarray:
    """Colors that change by three a pixel at most."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + b) + np.cos(y / a - b) for a, b in ((60, 0), (80, 1), (50, 2))]
    return np.rint(127.5 + 63 * np.stack(waves, axis=-1)).astype(np.uint8)


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".ppm", ".PNG"])
def test_color_comes_back_as_it_was_written(tmp_path, suffix):
    pixels = photograph(1, 24, 24)
    assert np.array_equal(one(save(tmp_path / f"x{suffix}", pixels), Shape.square(24)), pixels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp"])
def test_every_format_is_decoded_as_torchvision_decodes_it(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(photograph(1, 24, 24)).save(path)
    found = one(path, Shape.square(24)).astype(int)
    content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    theirs = torchvision.io.decode_image(content, mode="RGB").numpy().astype(int)
    # Pillow and torchvision bring libraries of their own; those of JPEG and WebP differ in rounding
    assert np.abs(found - theirs.transpose(1, 2, 0)).max() <= (0 if suffix in (".png", ".gif") else 4)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
def test_gray_becomes_gray_or_three_equal_channels(tmp_path, suffix):
    pixels = photograph(1, 24, 24, channels=1)
    path = save(tmp_path / f"x{suffix}", pixels)
    assert np.array_equal(one(path, Shape.square(24, channels=1)), pixels)
    assert np.array_equal(one(path, Shape.square(24)), np.repeat(pixels[..., None], 3, axis=-1))


def test_color_becomes_gray_by_luma(tmp_path):
    pixels = photograph(1, 24, 24)
    found = one(save(tmp_path / "x.png", pixels), Shape.square(24, channels=1))
    assert np.abs(found - pixels @ [0.299, 0.587, 0.114]).max() < 0.51


def test_a_palette_becomes_its_colors(tmp_path):
    colors = np.array([[255, 0, 0], [0, 200, 10], [3, 4, 250], [128, 128, 0]], np.uint8)
    indices = np.random.default_rng(1).integers(0, 4, (24, 24), dtype=np.uint8)
    for suffix in (".png", ".gif"):
        image = Image.fromarray(indices, mode=None).convert("P")
        image.putpalette(colors.tobytes())
        image.save(tmp_path / f"x{suffix}")
        assert np.array_equal(one(tmp_path / f"x{suffix}", Shape.square(24)), colors[indices])


def test_of_a_moving_picture_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((24, 24), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert np.unique(one(tmp_path / "x.gif", Shape.square(24))).tolist() == [10]


def test_black_and_white_of_one_bit_is_black_and_white(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 2, (24, 24)).astype(bool)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(one(tmp_path / "x.png", Shape.square(24, channels=1)), 255 * pixels.astype(np.uint8))


# --- shapes -----------------------------------------------------------------------------------------------

SIZES = [(300, 500), (500, 334), (376, 500), (120, 90), (256, 256), (100, 700), (256, 400), (224, 224)]


@pytest.mark.parametrize("size", SIZES)
def test_the_square_that_is_kept_is_the_middle_resized_as_pillow_does(tmp_path, size):
    pixels = photograph(2, *size)
    shape = Shape.square(224)
    kept = one(save(tmp_path / "x.png", pixels), shape)
    assert kept.shape == (256, 256, 3)
    resize = transforms.Compose([transforms.CenterCrop(min(size)), transforms.Resize((256, 256))])
    inner = slice(3, -3)  # at its edges Pillow interpolates with what lies beyond the square
    difference = kept.astype(int) - np.asarray(resize(Image.fromarray(pixels)))
    assert np.abs(difference[inner, inner]).max() <= 1  # it computes with weights in fixed point


@pytest.mark.parametrize("size", [*SIZES, (375, 500), (333, 500), (501, 300), (257, 400)])
def test_what_is_seen_is_resize_to_256_and_the_middle_224_of_it(tmp_path, size):
    pixels, shape = soft(*size), Shape.square(224)
    kept = one(save(tmp_path / "x.png", pixels), shape)
    images = Images(ImageSet(kept.transpose(2, 0, 1)[None], view=shape.view))
    (seen,) = images.plain(8)
    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    expected = np.asarray(usual(Image.fromarray(pixels))).transpose(2, 0, 1)
    assert seen.shape == (1, 3, 224, 224)
    # torchvision brings the long side to whole pixels first, which moves the middle by less than one of them;
    # colors here change by three in a pixel of the source
    bound = 1 + 3 * max(1, min(size) / 256)
    assert np.abs(seen[0].numpy().astype(int) - expected).max() <= bound


@pytest.mark.parametrize("size", [(64, 64), (64, 100), (40, 32), (16, 16)])
@pytest.mark.parametrize("wanted", [(32, 32), (32, 16), (20, 30)])
def test_other_proportions_are_cut_from_the_middle(tmp_path, size, wanted):
    pixels = photograph(4, *size)
    shape = Shape(3, *wanted, view=wanted)
    found = one(save(tmp_path / "x.png", pixels), shape)
    height, width = size
    rows, columns = min(height, width * wanted[0] / wanted[1]), min(width, height * wanted[1] / wanted[0])
    top, left = (height - rows) / 2, (width - columns) / 2
    expected = Image.fromarray(pixels).resize(
        wanted[::-1], Image.Resampling.BILINEAR, box=(left, top, left + columns, top + rows)
    )
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


# --- many, and broken ones --------------------------------------------------------------------------------


def test_every_file_is_in_its_row_and_progress_is_told(tmp_path):
    for number in range(150):
        save(tmp_path / f"{number:03}.png", photograph(number, 8, 8))
    names = Listing(tmp_path, LeftOut()).names
    calls: list[tuple[int, int]] = []
    out = np.zeros((150, 3, 8, 8), np.uint8)
    files = Files(tmp_path, tuple(names))
    assert decode(files, Shape.square(8), out, lambda done, total: calls.append((done, total)), Seen()) == {}
    assert calls == [(64, 150), (128, 150), (150, 150)]
    for number in range(150):
        assert np.array_equal(out[number].transpose(1, 2, 0), photograph(number, 8, 8))


def test_no_files_are_decoded_to_nothing(tmp_path):
    out, bad = decoded(tmp_path, [], Shape.square(8))
    assert (len(out), bad) == (0, {})


def broken(folder: Path) -> list[str]:
    """Files that are no images, by their names."""
    whole = save(folder / "whole.jpg", photograph(1, 64, 64)).read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    whole = save(folder / "whole.png", photograph(1, 64, 64)).read_bytes()
    (folder / "whole.png").unlink()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (folder / "damaged.png").write_bytes(whole[: middle - 50] + bytes(100) + whole[middle + 50 :])
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    (folder / "text.png").write_text("<html>404</html>")
    return ["absent.png", "cut.jpg", "cut.png", "damaged.png", "empty.png", "folder.jpg", "text.png"]


def test_what_cannot_be_read_is_named_with_its_row_and_the_rest_is_decoded(tmp_path):
    names = broken(tmp_path)
    mixed = []
    for number, name in enumerate(names):
        mixed += [save(tmp_path / f"good{number}.png", photograph(number, 8, 8)).name, name]
    out, bad = decoded(tmp_path, mixed, Shape.square(8))
    assert list(bad) == [2 * number + 1 for number in range(len(names))]
    for row, image in bad.items():
        assert image.file == str(tmp_path / mixed[row])
        assert image.why
        assert str(tmp_path) not in image.why
        assert "\n" not in image.why
    for number in range(len(names)):
        assert np.array_equal(out[2 * number].transpose(1, 2, 0), photograph(number, 8, 8))


def test_a_callback_that_raises_stops_the_decoding(tmp_path):
    for number in range(300):
        save(tmp_path / f"{number:03}.png", photograph(number, 8, 8))
    threads = threading.active_count()

    def give_up(done: int, total: int) -> None:
        raise KeyboardInterrupt

    out = np.zeros((300, 3, 8, 8), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        decode(Files(tmp_path, tuple(Listing(tmp_path, LeftOut()).names)), Shape.square(8), out, give_up, Seen())
    assert threading.active_count() == threads
