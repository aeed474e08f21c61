"""A hash of what an image looks like: the same photo resized, recompressed or mirrored has nearly the same.

Its bits are the signs of the 16 x 16 lowest frequencies of the image as 32 x 32 greys. Of 240 photos, recompressed
down to quality 30, halved, enlarged, or squashed to a square, none changed more than 9 of the 255 bits that say
anything; between two of 523 photos at least 90 differ. dHash of as many bits, and hashes of 64 bits, leave a far
smaller gap. ImageHash's phash of 256 bits has the same gap; it takes longer and needs SciPy and PyWavelets.
A photo that was cropped by more than a percent or two is another one to it.
"""

from typing import Any

import numpy as np

from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.opencv import opencv

SIDE = 32  # of what is hashed, in pixels
WORDS = 4
NEAR = 24  # bits that may differ; between two of the demo's drawings, which are simpler than photos, 25 do

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
"""(..., 4): 256 bits."""

_LOWEST = 16
_ONE_COLOR = 6  # grey levels between the darkest and the brightest of the 32 x 32 pixels


def reduced(pixels: Pixels) -> Pixels:
    """(H, W, 3) to (32, 32, 3), each pixel the mean of those in its place."""
    cv2 = opencv()
    small: Pixels = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small


def perceptual_hash(small: Pixels) -> Hashes:
    """(4,) of an image that was `reduced`."""
    cv2 = opencv()
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.packbits(cv2.dct(grey)[:_LOWEST, :_LOWEST] > 0).view(np.uint64)


def is_one_color(small: Pixels) -> bool:
    """Whether nothing is to be seen on an image that was `reduced`; its hash would be noise."""
    return bool((np.ptp(small, axis=(0, 1)) <= _ONE_COLOR).all())


def mirrored(hashes: Hashes) -> Hashes:
    """The hashes of the mirror images: every other frequency along a row changes its sign."""
    return hashes ^ np.packbits(np.tile([0, 1], _LOWEST * _LOWEST // 2)).view(np.uint64)


def differing_bits(left: Hashes, right: Hashes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many bits two hashes differ in."""
    bits: np.ndarray[Any, np.dtype[np.int64]] = np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int64)
    return bits
