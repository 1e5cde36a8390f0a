"""Image files that are not what their bare pixels show: transparent, of sixteen bits, turned, of several sizes."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from emma_tune.data.cache import Cached, ImageCache, Source
from emma_tune.data.files import Files, decode
from emma_tune.data.images import ImageSet, Shape
from emma_tune.data.pixels import Seen, decode_file
from tests.pictures import photograph, save

GRAY, COLOR = Shape.square(24, channels=1), Shape.square(24)


def shown(path: Path, shape: Shape = COLOR, depth: int = 16) -> np.ndarray:
    """(H, W, C), or (H, W) of one channel."""
    array, _ = decode_file(path, shape, depth)
    return array.transpose(1, 2, 0) if shape.channels == 3 else array[0]


def with_alpha(path: Path, pixels: np.ndarray, alpha: np.ndarray, **options: object) -> Path:
    Image.fromarray(np.dstack([pixels, alpha])).save(path, **options)
    return path


def cached(tmp_path: Path, shape: Shape = COLOR, **parts: list[Path]) -> tuple[Cached, dict[str, ImageSet]]:
    """What is decoded of the files of each part, by a cache of its own."""
    files = {part: Files(tmp_path, tuple(path.name for path in of)) for part, of in parts.items()}
    cache = ImageCache(tmp_path / "store")
    done = cache.get(Source("mine", str(parts), lambda: files, shape), lambda *_: None)
    assert cache.known(Source("mine", str(parts), dict, shape)) == done, "what was remarked is remarked again"
    return done, cache.load(done.fingerprint)


# --- transparency -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparent_pixels_are_laid_on_white_by_their_share(tmp_path, suffix):
    pixels = photograph(1, 24, 24)
    alpha = np.random.default_rng(1).integers(0, 256, (24, 24), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    path = with_alpha(tmp_path / f"x{suffix}", pixels, alpha, **options)
    share = alpha[..., None] / 255
    assert np.abs(shown(path) - (share * pixels + (1 - share) * 255)).max() < 1.01


def test_transparent_pixels_are_laid_on_the_background_that_a_study_gives(tmp_path):
    pixels, alpha = photograph(1, 24, 24), np.zeros((24, 24), np.uint8)
    alpha[:12] = 255
    files = Files(tmp_path, (with_alpha(tmp_path / "x.png", pixels, alpha).name,))
    cache = ImageCache(tmp_path / "store")
    found = {}
    for background, color in {"white": [255] * 3, "black": [0] * 3, "#0a1420": [10, 20, 32]}.items():
        source = Source("mine", "", lambda: {"train": files}, COLOR, background=background)
        cached = cache.get(source, lambda *_: None)
        images = cache.load(cached.fingerprint)["train"].images[0].transpose(1, 2, 0)
        assert np.array_equal(images[:12], pixels[:12])
        assert (images[12:] == color).all()
        assert cached.remarks == (f"transparent images are laid on {background}: x.png",)
        found[cached.fingerprint] = source.id
    assert len(found) == len(set(found.values())) == 3
    assert Source("mine", "", dict, COLOR).id in found.values(), "white is what it was before it could be chosen"


def test_a_background_changes_no_fingerprint_of_opaque_images(tmp_path):
    files = {"train": Files(tmp_path, (save(tmp_path / "x.png", photograph(1, 24, 24)).name,))}
    cache = ImageCache(tmp_path / "store")
    sources = [Source("mine", "", lambda: files, COLOR, background=color) for color in ("white", "black")]
    assert len({cache.get(source, lambda *_: None).fingerprint for source in sources}) == 1


def test_a_shape_that_is_in_transparency_alone_can_be_seen(tmp_path):
    shape = np.where(photograph(2, 24, 24, channels=1) > 128, 255, 0).astype(np.uint8)
    path = with_alpha(tmp_path / "x.png", np.zeros((24, 24), np.uint8), shape)
    assert np.array_equal(shown(path, GRAY), 255 - shape)
    assert np.array_equal(shown(path), np.repeat(255 - shape[..., None], 3, axis=-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_opaque_everywhere_stays_as_it_is_and_is_not_remarked(tmp_path, channels):
    pixels = photograph(3, 24, 24, channels)
    path = with_alpha(tmp_path / "x.png", pixels, np.full((24, 24), 255, np.uint8))
    assert np.array_equal(shown(path, GRAY if channels == 1 else COLOR), pixels)
    assert cached(tmp_path, train=[path])[0].remarks == ()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_transparent_color_of_a_palette_becomes_white(tmp_path, suffix):
    colors = np.array([[255, 0, 0], [0, 200, 10], [3, 4, 250], [128, 128, 0]], np.uint8)
    indices = np.random.default_rng(1).integers(0, 4, (24, 24), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colors.tobytes())
    image.save(tmp_path / f"x{suffix}", transparency=2)
    colors[2] = 255
    assert np.array_equal(shown(tmp_path / f"x{suffix}"), colors[indices])


def test_a_transparent_gray_becomes_white(tmp_path):
    pixels = photograph(4, 24, 24, channels=1)
    value = int(pixels[3, 5])
    Image.fromarray(pixels).save(tmp_path / "x.png", transparency=value)
    assert np.array_equal(shown(tmp_path / "x.png", GRAY), np.where(pixels == value, 255, pixels))


# --- sixteen bits -----------------------------------------------------------------------------------------


def deep(path: Path, brightest: int, seed: int = 1) -> np.ndarray:
    """Write gray pixels of sixteen bits, of which one is this bright."""
    pixels = np.random.default_rng(seed).integers(0, brightest, (24, 24)).astype(np.uint16)
    pixels[seed, seed] = brightest
    Image.fromarray(pixels).save(path)
    return pixels.astype(float)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    pixels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / f"x{suffix}")
    found, images = cached(tmp_path, Shape.square(16, channels=1), train=[tmp_path / f"x{suffix}"])
    assert np.array_equal(images["train"].images[0, 0], pixels // 257)
    assert found.remarks == ()


@pytest.mark.parametrize(("brightest", "bits"), [(200, 8), (900, 10), (2048, 12), (4095, 12), (9000, 14)])
def test_fewer_bits_in_files_of_sixteen_are_scaled_by_as_many(tmp_path, brightest, bits):
    pixels = deep(tmp_path / "x.tif", brightest)
    found, images = cached(tmp_path, GRAY, train=[tmp_path / "x.tif"])
    assert np.abs(images["train"].images[0, 0] - pixels * 255 / (2**bits - 1)).max() <= 0.51
    assert found.remarks == (f"pixels use {bits} of 16 bits and are scaled by that: x.tif",)


def test_all_parts_are_scaled_alike_and_a_dark_image_stays_dark(tmp_path):
    files = [tmp_path / name for name in ("dark.png", "bright.png", "eight.png")]
    dark, bright = deep(files[0], 300), deep(files[1], 4000)
    eight = photograph(1, 24, 24, channels=1)
    save(files[2], eight)
    found, images = cached(tmp_path, GRAY, train=[files[0], files[2]], test=[files[1]])
    for image, pixels in ((images["train"].images[0], dark), (images["test"].images[0], bright)):
        assert np.abs(image[0] - pixels * 255 / 4095).max() <= 0.51
    assert np.array_equal(images["train"].images[1, 0], eight)
    assert found.remarks == ("pixels use 12 of 16 bits and are scaled by that: dark.png, bright.png",)


def png(path: Path, pixels: np.ndarray) -> None:
    """Write colors (H, W, 3) of sixteen bits, or gray and alpha (H, W, 2), which Pillow cannot."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    content = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))


@pytest.mark.parametrize(("brightest", "bits"), [(65535, 16), (4095, 12)])
def test_colors_are_scaled_by_their_bits_as_far_as_pillow_keeps_them(tmp_path, brightest, bits):
    pixels = np.random.default_rng(1).integers(0, brightest, (24, 24, 3), endpoint=True).astype(np.uint16)
    pixels[0, 0] = brightest
    png(tmp_path / "x.png", pixels)
    found, images = cached(tmp_path, train=[tmp_path / "x.png"])
    difference = images["train"].images[0].transpose(1, 2, 0) - pixels * (255 / (2**bits - 1))
    assert np.abs(difference).max() <= 256 * 255 / 2**bits + 1, "what the lower eight bits are worth"
    assert found.remarks == (() if bits == 16 else ("pixels use 12 of 16 bits and are scaled by that: x.png",))


def test_transparency_of_sixteen_bits_is_no_brightness(tmp_path):
    pixels = np.full((24, 24, 2), 65535, np.uint16)
    pixels[..., 0] = 1000
    png(tmp_path / "x.png", pixels)
    _, images = cached(tmp_path, GRAY, train=[tmp_path / "x.png"])
    assert np.unique(images["train"].images).tolist() == [pytest.approx(1000 * 255 / 1023, abs=65)]


def test_pixels_beyond_sixteen_bits_are_no_image(tmp_path):
    for name, value in (("below", -1000), ("beyond", 70_000)):
        Image.fromarray(np.full((24, 24), value, np.int32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match=rf"^expected pixels of 16 bits at most, found {value} to {value}$"):
            decode_file(tmp_path / f"{name}.tif", GRAY, 16)


# --- orientation ------------------------------------------------------------------------------------------

AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""By orientation (EXIF 2.3, 4.6.4): what a camera writes of what it sees."""


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", AS_STORED)
def test_an_image_is_turned_as_its_orientation_says(tmp_path, orientation, suffix):
    upright = photograph(5, 24, 36)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    stored = np.ascontiguousarray(AS_STORED[orientation](upright))
    Image.fromarray(stored).save(tmp_path / f"x{suffix}", exif=exif, **options)
    assert np.array_equal(shown(tmp_path / f"x{suffix}", Shape(3, 24, 36, (24, 36))), upright)


def test_a_photograph_is_cut_after_it_is_turned(tmp_path):
    upright = np.zeros((60, 30, 3), np.uint8)
    upright[15:45] = 255  # the middle square is white
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    Image.fromarray(np.rot90(upright, -1)).save(tmp_path / "x.jpg", exif=exif, quality=95)
    assert shown(tmp_path / "x.jpg")[2:-2].min() > 240


def test_damaged_metadata_cost_no_image(tmp_path):
    pixels = photograph(6, 24, 24)
    for number, exif in enumerate([b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(9)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path, exif=exif)
        files = Files(tmp_path, (path.name,))
        out = np.zeros((1, 3, 24, 24), np.uint8)
        with warnings.catch_warnings(action="error"):  # none reaches a user
            assert decode(files, COLOR, out, lambda *_: None, Seen()) == {}
        assert np.array_equal(out[0].transpose(1, 2, 0), pixels)


# --- what is remarked -------------------------------------------------------------------------------------


def test_each_kind_is_remarked_once_for_all_parts_in_their_order(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    train, test = [], []
    for number in range(70):  # more than a chunk
        train.append(
            with_alpha(tmp_path / f"{number:02}.png", photograph(number, 24, 24), np.eye(24, dtype=np.uint8))
        )
    for number, size in enumerate([(20, 30), (30, 20), (24, 24)]):
        test.append(tmp_path / f"t{number}.jpg")
        Image.fromarray(photograph(number, *size)).save(test[-1], exif=exif)
    found, _ = cached(tmp_path, train=train, test=test)
    assert found.remarks == (
        "images of 3 sizes, 24×24 to 30×20, are brought to 24×24",
        "transparent images are laid on white: 00.png, 01.png, 02.png, 03.png, 04.png and 65 more",
        "images are turned as their EXIF orientation says: t0.jpg, t1.jpg, t2.jpg",
    )


def test_images_of_one_size_are_brought_to_another_without_a_word(tmp_path):
    files = [save(tmp_path / f"{number}.png", photograph(number, 40, 30)) for number in range(3)]
    assert cached(tmp_path, train=files)[0].remarks == ()


def test_arrays_of_several_sizes_are_remarked_too(tmp_path):
    parts = {
        "train": ImageSet(np.zeros((2, 1, 8, 8), np.uint8)),
        "test": ImageSet(np.zeros((2, 1, 9, 7), np.uint8)),
    }
    found = ImageCache(tmp_path).get(Source("mine", "", lambda: parts, GRAY), lambda *_: None)
    assert found.remarks == ("images of 2 sizes, 9×7 to 8×8, are brought to 24×24",)


def test_nothing_seen_is_nothing_to_remark():
    assert Seen().remarks(COLOR) == ()
    assert Seen().depth_found == 16
