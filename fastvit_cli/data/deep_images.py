"""Grey images of more than 8 bits a pixel, which Pillow would clip to white or black, scaled to 8 bits.

- Unsigned 16-bit values: 0 to 65,535 become 0 to 255; 12-bit ones of a TIFF likewise, from 0 to 4,095.
- Signed and 32-bit integers, of which no picture fills the range: as 8 or as 16 bits where all values of the image
  fit in, else from its lowest to its highest value.
- Floats: 0 to 1 become 0 to 255 where all values lie there, else from the image's lowest to its highest.

Values between are rounded to the nearest grey. Not-a-number and minus infinity are black, infinity is white. Deep
colour images come from Pillow as 8 bits.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_UINT8, _UINT16 = (0, 2**8 - 1), (0, 2**16 - 1)
_SIXTEEN_BITS_AS_I = ("PNG", "PPM")  # which Pillow opens in its mode for 32-bit integers, PNG by its version
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO = 0
_UNSIGNED = 1

Values = np.ndarray[Any, np.dtype[Any]]


def depth_of(image: "Image") -> str | None:
    """Such as "16-bit PNG" or "float TIFF" for a deep grey image; None for what Pillow turns into 8 bits itself."""
    if image.mode == "F":
        depth = "float"
    elif image.mode == "I" or image.mode.startswith("I;16"):
        depth = f"{_bits(image)}-bit"
    else:
        return None
    return f"{depth} {image.format}" if image.format else depth


def to_8_bits(image: "Image") -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """The pixels of a deep grey image, (H, W) uint8. For the rule see the module.

    Raises:
        ValueError: not one of its values is a number.
    """
    values = np.asarray(image)
    if image.mode == "I" and image.format == "TIFF" and _tag(image, _SAMPLE_FORMAT) in (None, _UNSIGNED):
        values = values.view(np.uint32)  # Pillow has no mode for them
    low, high = map(float, _range(image, values))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values.astype(np.float64)
        scaled -= low
        scaled *= 255 / (high - low) if high > low else 0.0
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    grey = np.rint(scaled, out=scaled).clip(0, 255).astype(np.uint8)
    return 255 - grey if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO else grey


def deep_words(counts: Mapping[str, int]) -> str:
    """Such as "24 deep images (16 16-bit PNG, 8 float TIFF), scaled to 8 bits".

    Args:
        counts: images by `depth_of`, at least one.
    """
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    total = sum(counts.values())
    return f"{total:,} deep {'image' if total == 1 else 'images'} ({kinds}), scaled to 8 bits"


def added_up(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The sums by kind, sorted by it."""
    sums: dict[str, int] = {}
    for kind, count in counts:
        sums[kind] = sums.get(kind, 0) + count
    return dict(sorted(sums.items()))


def _range(image: "Image", values: Values) -> tuple[float, float]:
    """The values that become black and white."""
    if image.mode == "F":
        return _fitting(values, (0, 1))
    if image.mode != "I" or image.format in _SIXTEEN_BITS_AS_I:
        return 0, 2 ** _bits(image) - 1
    return _fitting(values, _UINT8, _UINT16)


def _fitting(values: Values, *ranges: tuple[int, int]) -> tuple[float, float]:
    """The first of the ranges that all values lie in, else their own."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("not one of its values is a number")
    low, high = finite.min(), finite.max()
    return next(((least, most) for least, most in ranges if least <= low and high <= most), (low, high))


def _bits(image: "Image") -> int:
    """How many the file has for a value."""
    return _tag(image, _BITS) or (16 if image.mode != "I" or image.format in _SIXTEEN_BITS_AS_I else 32)


def _tag(image: "Image", number: int) -> int | None:
    """A tag of a TIFF; None of other files, and where the tag is not there."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value
