"""Encoded images to 8-bit RGB, exactly as PIL does it; `deep_images` converts grey images of more bits.

JPEGs, which most data sets hold, go through libjpeg-turbo by way of simplejpeg; everything it does not take, and
everything that is odd, goes through PIL. Of the libraries that wrap libjpeg-turbo (simplejpeg, OpenCV, torchvision,
torchcodec) all gave PIL's very pixels on 125 real JPEGs, within 4 % of each other in speed and 1.3 times as fast
as PIL; simplejpeg is the one that refuses a truncated file instead of filling the rest with grey.
"""

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvit_cli.data.deep_images import depth_of, to_8_bits
from fastvit_cli.data.image_formats import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
"""RGB, (H, W, 3) uint8, C-contiguous."""


MAX_PIXELS = 178_956_970  # where PIL, too, takes a file for a decompression bomb
_JPEG_MAGIC = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112
UPRIGHT = 1
# What libjpeg-turbo turns into RGB exactly as PIL does. CMYK and YCCK are inverted or not, as the Adobe marker says.
_PLAIN_COLORS = frozenset(("RGB", "YCbCr", "Gray"))


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width


class Decoded(NamedTuple):
    """An image, and what it was where it had more than 8 bits: `depth_of`."""

    pixels: Pixels
    deep: str | None = None


def decode(encoded: "bytes | Image", *, exif: bool = False) -> Pixels:
    """The pixels of `decode_with_depth`. Raises the same."""
    return decode_with_depth(encoded, exif=exif).pixels


def decode_with_depth(encoded: "bytes | Image", *, exif: bool = False) -> Decoded:
    """Decode an image of any format that is read.

    Args:
        encoded: the file's bytes, or an image that PIL has opened already.
        exif: turn the image upright as its EXIF orientation says; published accuracies were measured without.

    Raises:
        OSError, ValueError, SyntaxError and others: what PIL finds wrong with the file.
        ValueError: more than 178,956,970 pixels.
    """
    if isinstance(encoded, bytes):
        pixels = _decode_plain_jpeg(encoded)
        if pixels is not None:
            return Decoded(upright(pixels, orientation(encoded)) if exif else pixels)
    return _decode_with_pil(encoded, exif)


class Reduced(NamedTuple):
    """An image, perhaps smaller than it is in the file; its size there; `deep` as of `Decoded`."""

    pixels: Pixels
    height: int
    width: int
    deep: str | None = None


def decode_reduced(encoded: "bytes | Image", side: int) -> Reduced:
    """Decode an image to no fewer than `side` pixels either way, where that is faster. Raises as `decode`.

    All of a JPEG's bytes are looked at all the same: what is unreadable to `decode` is so here.
    """
    import simplejpeg

    if isinstance(encoded, bytes) and (size := plain_jpeg_size(encoded)) is not None:
        with contextlib.suppress(ValueError):  # which PIL may shrug off
            return Reduced(simplejpeg.decode_jpeg(encoded, "RGB", min_height=side, min_width=side), *size)
    pixels, deep = decode_with_depth(encoded)
    height, width, _ = pixels.shape
    return Reduced(pixels, height, width, deep)


def plain_jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that libjpeg-turbo turns into PIL's pixels; None where PIL must look at the file.

    Raises:
        ValueError: more than 178,956,970 pixels.
    """
    import simplejpeg

    if not encoded.startswith(_JPEG_MAGIC):
        return None
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    if color not in _PLAIN_COLORS:
        return None
    _refuse_bomb(width, height)
    return height, width


def _decode_plain_jpeg(encoded: bytes) -> Pixels | None:
    """The pixels, or None when PIL must say what is in the file."""
    import simplejpeg

    if plain_jpeg_size(encoded) is None:
        return None
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(encoded, "RGB")
    except ValueError:  # also for what PIL shrugs off, such as stray bytes before a marker
        return None
    return pixels


def _decode_with_pil(encoded: "bytes | Image", exif: bool) -> Decoded:
    from PIL import ImageOps

    with open_image(encoded) if isinstance(encoded, bytes) else encoded as image:
        _refuse_bomb(*image.size)
        deep = depth_of(image)
        if deep is None:
            return Decoded(np.array((ImageOps.exif_transpose(image) if exif else image).convert("RGB")))
        pixels = np.repeat(to_8_bits(image)[..., np.newaxis], 3, axis=2)
        return Decoded(upright(pixels, _orientation_of(image)) if exif else pixels, deep)


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} are more than {MAX_PIXELS:,} pixels")


def orientation(encoded: bytes) -> int:
    """How EXIF says that the image lies: 1 is upright."""
    with open_image(encoded) as image:
        return _orientation_of(image)


def _orientation_of(image: "Image") -> int:
    value: Any = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation: 2 to 4 mirror, 5 to 8 lie on the side."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
