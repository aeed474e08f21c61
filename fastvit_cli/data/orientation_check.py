"""How many images of a data set are not upright, as their EXIF orientation says."""

import contextlib
from typing import Any

import numpy as np

from fastvit_cli.data.decoding import UPRIGHT, orientation
from fastvit_cli.data.images import Images

LOOKED_AT = 32


def count_not_upright(images: Images) -> tuple[int, int]:
    """Of some images, spread evenly over the split: how many are not upright, and how many were looked at."""
    spread = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).round().astype(int))
    found = [turned for index in spread.tolist() if (turned := _is_turned(images, index)) is not None]
    return sum(found), len(found)


def _is_turned(images: Images, index: int) -> bool | None:
    """None for what cannot be read, or has no EXIF as it comes."""
    with contextlib.suppress(Exception):  # decoders raise many types; that it cannot be read is said elsewhere
        encoded: Any = images.read(index)
        if isinstance(encoded, bytes):
            return orientation(encoded) != UPRIGHT
    return None
