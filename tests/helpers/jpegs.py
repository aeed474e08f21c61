"""Kinds of JPEG that cameras and programs write."""

import io
from typing import Any

from PIL import Image

JPEGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "RGB inside": {"keep_rgb": True},
    "rough": {"quality": 5},
    "restart markers": {"restart_marker_rows": 1},
}
"""Options of PIL's writer by name."""


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
