"""Small pictures of images, for pages."""

import io

from fastvit_cli.data.decoding import decode
from fastvit_cli.data.images import Images

_SIDE = 224


def thumbnail(images: Images, index: int, side: int = _SIDE) -> bytes:
    """One image as an upright JPEG of at most `side` px. Raises as `decode`."""
    from PIL import Image

    picture = Image.fromarray(decode(images.read(index), exif=True))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()
