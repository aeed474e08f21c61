"""A real photograph: the portrait of Grace Hopper that comes with matplotlib (US Navy, public domain)."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


def photo_file() -> Path:
    """The JPEG, 512 x 600 or thereabouts."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@cache
def photo() -> Image.Image:
    """As RGB. Do not change it."""
    with Image.open(photo_file()) as image:
        return image.convert("RGB")


def photo_pixels(side: int, seed: int = 0) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A square of it, (side, side, 3), from a place that the seed chooses."""
    draw = np.random.default_rng(seed)
    left, top = int(draw.integers(photo().width - side)), int(draw.integers(photo().height - side))
    return np.array(photo().crop((left, top, left + side, top + side)))
