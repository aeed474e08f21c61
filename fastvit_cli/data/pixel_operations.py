"""The colour and geometry operations of timm's augmentation policies, on uint8 arrays instead of PIL images.

What maps each pixel value by itself is one table look-up and gives PIL's very pixels. The others are OpenCV's
kernels, which round once where PIL rounds between steps, or at other places; tests state how far apart they are.

Each function takes an image (H, W, 3) and what timm's function of the same name takes, and leaves the image as it is.
"""

import math
import random
from typing import Any

import numpy as np

from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.opencv import opencv

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_LEVELS = np.arange(256)
_GREY = (128, 128, 128)


def auto_contrast(image: Pixels, **_: Any) -> Pixels:
    """Stretch each channel to 0..255."""
    tables = np.empty((1, 256, 3), np.uint8)
    for channel, (low, high) in enumerate(_ranges(image)):
        # Truncated, in this order of operations: as PIL computes its table.
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        tables[0, :, channel] = np.clip((_LEVELS * scale + offset).astype(np.int64), 0, 255)
    return _look_up(image, tables)


def equalize(image: Pixels, **_: Any) -> Pixels:
    """Spread each channel's values evenly."""
    tables = np.empty((1, 256, 3), np.uint8)
    for channel, histogram in enumerate(_histograms(image)):
        present = histogram[histogram > 0]
        step = (int(histogram.sum()) - int(present[-1])) // 255
        if len(present) <= 1 or step == 0:
            tables[0, :, channel] = _LEVELS
            continue
        before = np.concatenate(([0], np.cumsum(histogram)[:-1]))
        # PIL leaves values above 255 to its table's own clipping.
        tables[0, :, channel] = np.minimum((step // 2 + before) // step, 255)
    return _look_up(image, tables)


def invert(image: Pixels, **_: Any) -> Pixels:
    """255 - x."""
    return np.asarray(opencv().bitwise_not(image))


def solarize(image: Pixels, thresh: int, **_: Any) -> Pixels:
    """Invert values from `thresh` on."""
    return _look_up(image, np.where(thresh <= _LEVELS, 255 - _LEVELS, _LEVELS))


def solarize_add(image: Pixels, add: int, thresh: int = 128, **_: Any) -> Pixels:
    """Add to values below `thresh`."""
    return _look_up(image, np.where(thresh <= _LEVELS, _LEVELS, np.minimum(255, _LEVELS + add)))


def posterize(image: Pixels, bits_to_keep: int, **_: Any) -> Pixels:
    """Keep the highest bits; none leaves black."""
    if bits_to_keep >= 8:
        return image
    return _look_up(image, _LEVELS & (0xFF << (8 - bits_to_keep) & 0xFF))


def brightness(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Away from black (factor above 1) or towards it."""
    return _look_up(image, _blend_table(0, factor))


def contrast(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Away from the mean grey or towards it."""
    return _look_up(image, _blend_table(int(opencv().mean(_grey(image))[0] + 0.5), factor))


def color(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Away from the grey image or towards it."""
    mix = np.tile(_LUMA * np.float32(1 - factor), (3, 1)) + np.eye(3, dtype=np.float32) * np.float32(factor)
    return np.asarray(opencv().transform(image, mix))


def desaturate(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Towards grey by `factor` in 0..1."""
    return color(image, min(1.0, max(0.0, 1.0 - factor)))


def sharpness(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Away from the smoothed image or towards it; the outermost pixels stay, as PIL's filter leaves them."""
    if min(image.shape[:2]) < 3:
        return image
    kernel = np.full((3, 3), (1 - factor) / 13, np.float32)
    kernel[1, 1] = factor + 5 * (1 - factor) / 13
    sharpened: Pixels = np.asarray(opencv().filter2D(image, -1, kernel))
    sharpened[[0, -1]] = image[[0, -1]]
    sharpened[:, [0, -1]] = image[:, [0, -1]]
    return sharpened


def gaussian_blur(image: Pixels, factor: float, **_: Any) -> Pixels:
    """Blur with a standard deviation of `factor` pixels."""
    return np.asarray(opencv().GaussianBlur(image, (0, 0), factor)) if factor > 0 else image


def shear_x(image: Pixels, factor: float, **kwargs: Any) -> Pixels:
    """Move each row by `factor` times its height."""
    return _affine(image, (1, factor, 0, 0, 1, 0), **kwargs)


def shear_y(image: Pixels, factor: float, **kwargs: Any) -> Pixels:
    """Move each column by `factor` times its distance from the left."""
    return _affine(image, (1, 0, 0, factor, 1, 0), **kwargs)


def translate_x_rel(image: Pixels, pct: float, **kwargs: Any) -> Pixels:
    """Move by a share of the width."""
    return translate_x_abs(image, pct * image.shape[1], **kwargs)


def translate_y_rel(image: Pixels, pct: float, **kwargs: Any) -> Pixels:
    """Move by a share of the height."""
    return translate_y_abs(image, pct * image.shape[0], **kwargs)


def translate_x_abs(image: Pixels, pixels: float, **kwargs: Any) -> Pixels:
    """Move left by `pixels`."""
    return np.asarray(opencv().transpose(translate_y_abs(opencv().transpose(image), pixels, **kwargs)))


def translate_y_abs(image: Pixels, pixels: float, **kwargs: Any) -> Pixels:
    """Move up by `pixels`, a filter of four taps: five times as fast as the general way."""
    whole, height = math.floor(pixels), image.shape[0]
    taps = _taps(pixels - whole, _chosen_filter(kwargs.get("resample")))
    # The rows whose centre lies inside; taps beyond the edge repeat it.
    first = min(height, max(0, math.ceil(-pixels - 0.5)))
    last = max(first, min(height, math.ceil(height - pixels - 0.5)))
    cv2, fill = opencv(), kwargs.get("fillcolor", _GREY)
    if first == last:
        return np.full_like(image, fill)
    rows = np.clip(np.arange(first + whole - 1, last + whole + 2), 0, height - 1)
    filtered = cv2.filter2D(image[rows], -1, taps, anchor=(0, 0))[: last - first]
    return np.asarray(cv2.copyMakeBorder(filtered, first, height - last, 0, 0, cv2.BORDER_CONSTANT, value=fill))


def rotate(image: Pixels, degrees: float, **kwargs: Any) -> Pixels:
    """Turn counter-clockwise about the centre."""
    angle = -math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = image.shape[1] / 2, image.shape[0] / 2
    return _affine(
        image, (cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y), **kwargs
    )


def _affine(
    image: Pixels, matrix: tuple[float, ...], fillcolor: tuple[int, ...] = _GREY, resample: Any = None
) -> Pixels:
    """PIL's `Image.transform(AFFINE)`: output pixel centres (x, y) come from (a x + b y + c, d x + e y + f).

    Args:
        resample: PIL's filter, or several to choose from at random, as timm passes them.
    """
    from PIL import Image

    cv2 = opencv()
    chosen = _chosen_filter(resample)
    a, b, c, d, e, f = matrix
    # OpenCV counts from the centre of the first pixel, PIL from its corner.
    centred = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])

    def warped(pixels: Any, kernel: int) -> Any:
        size, flags = (image.shape[1], image.shape[0]), kernel | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            pixels, centred, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fillcolor
        )

    # OpenCV is fastest, by half, with four channels where it is linear and with floats where it is cubic.
    if chosen == Image.Resampling.BILINEAR:
        return np.asarray(
            cv2.cvtColor(warped(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), cv2.INTER_LINEAR), cv2.COLOR_RGBA2RGB)
        )
    if chosen == Image.Resampling.NEAREST:
        return np.asarray(warped(image, cv2.INTER_NEAREST))
    return np.asarray(cv2.add(warped(image.astype(np.float32), cv2.INTER_CUBIC), 0, dtype=cv2.CV_8U))


def _chosen_filter(resample: Any) -> Any:
    return random.choice(resample) if isinstance(resample, list | tuple) else resample


def _taps(fraction: float, chosen: Any) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Weights (4, 1) of the rows -1, 0, 1 and 2 for a value `fraction` below row 0, as in PIL's transform."""
    from PIL import Image

    if chosen == Image.Resampling.BILINEAR:
        weights = [0.0, 1 - fraction, fraction, 0.0]
    elif chosen == Image.Resampling.NEAREST:
        weights = [0.0, float(fraction < 0.5), float(fraction >= 0.5), 0.0]
    else:
        weights = [_cubic(1 + fraction), _cubic(fraction), _cubic(1 - fraction), _cubic(2 - fraction)]
    return np.array(weights, np.float32)[:, None]


def _cubic(distance: float) -> float:
    """PIL's transform takes the cubic with a slope of -1, its resize the one with -0.5."""
    if distance < 1:
        return distance**3 - 2 * distance**2 + 1
    return -(distance**3) + 5 * distance**2 - 8 * distance + 4


def _ranges(image: Pixels) -> list[tuple[int, int]]:
    """The lowest and the highest value of each channel."""
    lines = image.reshape(image.shape[0], -1)  # numpy is quick along whole lines only
    low, high = (line.reshape(-1, 3) for line in (lines.min(axis=0), lines.max(axis=0)))
    return list(zip(low.min(axis=0).tolist(), high.max(axis=0).tolist(), strict=True))


def _histograms(image: Pixels) -> "list[np.ndarray[Any, np.dtype[np.int64]]]":
    return [
        opencv()
        .calcHist([image], [channel], None, [256], [0, 256])
        .ravel()
        .astype(np.int64)  # exact up to 2^24 pixels
        for channel in range(3)
    ]


def _grey(image: Pixels) -> Pixels:
    return np.asarray(opencv().cvtColor(image, opencv().COLOR_RGB2GRAY))


def _blend_table(grey: int, factor: float) -> Any:
    """`grey + factor * (x - grey)`, truncated and clipped as PIL's blend."""
    # In float32, as PIL computes.
    blended = np.float32(grey) + np.float32(factor) * (_LEVELS - grey).astype(np.float32)
    return np.clip(blended, 0, 255).astype(np.uint8)


def _look_up(image: Pixels, table: Any) -> Pixels:
    return np.asarray(opencv().LUT(image, table.astype(np.uint8)))
