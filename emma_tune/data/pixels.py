"""One image file as pixels: of eight bits, opaque, upright, and of the wanted shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emma_tune.data.images import Shape
from emma_tune.data.listing import named

if TYPE_CHECKING:
    from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners put into files of sixteen."""

WHITE = "white"
"""What transparent images are laid on by default."""


class Traits(NamedTuple):
    """How the image in a file differs from its pixels as they are kept."""

    size: tuple[int, int]  # height and width, upright
    brightest: int | None  # of pixels of sixteen bits
    transparent: bool
    turned: bool


@dataclass
class Seen:
    """What was remarkable about the images of a data set, in all of its parts.

    Attributes:
        depth: bits that pixels of sixteen bits are scaled by.
        background: color that transparent images are laid on, by a name or as #rrggbb.
        sizes: height and width of the images.
        brightest: of all pixels of sixteen bits.
        deep: files with such pixels.
        transparent: files with pixels that are not opaque.
        turned: files that say by EXIF that they are to be turned.
    """

    depth: int = DEPTHS[-1]
    background: str = WHITE
    sizes: set[tuple[int, int]] = field(default_factory=set)
    brightest: int = 0
    deep: list[str] = field(default_factory=list)
    transparent: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)

    def add(self, name: str, traits: Traits) -> None:
        """Take note of a file."""
        self.sizes.add(traits.size)
        if traits.brightest is not None:
            self.brightest = max(self.brightest, traits.brightest)
            self.deep.append(name)
        if traits.transparent:
            self.transparent.append(name)
        if traits.turned:
            self.turned.append(name)

    @property
    def depth_found(self) -> int:
        """The fewest bits that hold all pixels of sixteen bits."""
        return next(bits for bits in DEPTHS if self.brightest < 2**bits) if self.deep else DEPTHS[-1]

    def remarks(self, shape: Shape) -> tuple[str, ...]:
        """Return a line for each way in which images became others than their files show."""
        lines = []
        if len(self.sizes) > 1:
            (height, width), (most_high, most_wide) = (
                pick(self.sizes, key=lambda size: (size[0] * size[1], size)) for pick in (min, max)
            )
            lines.append(
                f"images of {len(self.sizes)} sizes, {height}×{width} to {most_high}×{most_wide}, are brought to "
                f"{shape.height}×{shape.width}"
            )
        if self.depth < DEPTHS[-1]:
            lines.append(f"pixels use {self.depth} of 16 bits and are scaled by that: {named(self.deep)}")
        if self.transparent:
            lines.append(f"transparent images are laid on {self.background}: {named(self.transparent)}")
        if self.turned:
            lines.append(f"images are turned as their EXIF orientation says: {named(self.turned)}")
        return tuple(lines)


def decode_file(path: Path, shape: Shape, depth: int, background: str = WHITE) -> tuple[NDArray[np.uint8], Traits]:
    """Decode a file of any size, gray, with a palette or in color, to (C, H, W).

    Args:
        path: the file.
        shape: what it is brought to: the center in the wanted proportions, resized (bilinear, antialiased).
        depth: bits that pixels of sixteen bits are scaled by.
        background: color that transparent pixels are laid on, by a name or as #rrggbb.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        deep = image.mode[0] in "IF" or any(
            ";16" in str(tile[3]) and "BGR;16" not in str(tile[3]) for tile in image.tile
        )
        image.load()  # formats that turn their images themselves, like TIFF, have done so then
        method = _turn(image)
        mode, wanted = ("RGB" if shape.channels == 3 else "L"), (shape.width, shape.height)
        eight, brightest = _in_eight_bits(image, depth) if deep else (image, None)
        opaque = _laid_on(background, eight)
        pixels = (opaque or eight).convert(mode)
        if method is not None:
            pixels = pixels.transpose(method)
        size = pixels.height, pixels.width
        if pixels.size != wanted:
            pixels = ImageOps.fit(pixels, wanted, method=Image.Resampling.BILINEAR)
    array = np.asarray(pixels, dtype=np.uint8)
    array = array.transpose(2, 0, 1) if shape.channels == 3 else array[None]
    return array, Traits(size, brightest, opaque is not None, method is not None)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how an image has to be turned by its EXIF orientation; None if it is upright."""
    from PIL import ExifTags, Image

    try:
        orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata raise errors of many kinds, and the pixels may be fine
        return None
    methods = Image.Transpose
    return {
        2: methods.FLIP_LEFT_RIGHT,
        3: methods.ROTATE_180,
        4: methods.FLIP_TOP_BOTTOM,
        5: methods.TRANSPOSE,
        6: methods.ROTATE_270,
        7: methods.TRANSVERSE,
        8: methods.ROTATE_90,
    }.get(orientation)


def _in_eight_bits(image: Image.Image, depth: int) -> tuple[Image.Image, int | None]:
    """Scale pixels of sixteen bits: Pillow would make all grays above 255 white, and twelve bits of colors dark.

    Returns:
        The image, and its brightest pixel.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("expected whole numbers for pixels, found fractions")
    scale = 255 / (2**depth - 1)
    if not image.mode.startswith("I"):  # of colors Pillow keeps the upper eight bits
        bands = {name: image.getchannel(name) for name in image.getbands()}
        brightest = 257 * max(int(np.asarray(band).max()) for name, band in bands.items() if name != "A")
        levels = [min(255, round(257 * level * scale)) for level in range(256)]
        scaled = [band if name == "A" else band.point(levels) for name, band in bands.items()]
        return Image.merge(image.mode, scaled), brightest
    pixels = np.asarray(image)
    darkest, brightest = int(pixels.min()), int(pixels.max())
    if darkest < 0 or brightest > 65535:
        raise ValueError(f"expected pixels of 16 bits at most, found {darkest} to {brightest}")
    return Image.fromarray(np.rint(pixels * scale).clip(0, 255).astype(np.uint8)), brightest


def _laid_on(background: str, image: Image.Image) -> Image.Image | None:
    """Lay an image on a color; None if all of its pixels are opaque."""
    from PIL import Image

    if not image.has_transparency_data:
        return None
    colors = image.convert("RGBA")
    least, _ = colors.getchannel("A").getextrema()
    if least == 255:
        return None
    return Image.alpha_composite(Image.new("RGBA", colors.size, background), colors)
