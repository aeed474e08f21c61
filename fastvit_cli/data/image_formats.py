"""Which files are images here: what Pillow decodes by itself, and HEIC where pillow-heif is installed."""

import io
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

HEIC_SUFFIXES = frozenset((".heic", ".heics", ".heif", ".heifs", ".hif"))
HEIC_REMEDY = 'pip install "fastvit[heic]"'

_FIRST = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # most files are one of these
_NOT_READ = frozenset(
    (
        *("EPS", "WMF"),  # programs, which Ghostscript or Windows would run
        *("BUFR", "GRIB", "HDF5"),  # Pillow knows their names alone
        *("FLI", "MPEG"),  # videos
        "FITS",  # Pillow mixes up the bytes of its deeper values
        "IPTC",  # notes about a picture
    )
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read. They go by the content of a file, whatever its suffix."""
    from PIL import Image

    Image.init()
    _register_heic()
    named = {name for name in Image.registered_extensions().values() if name in Image.OPEN} - _NOT_READ
    return (*(name for name in _FIRST if name in named), *sorted(named.difference(_FIRST)))


@cache
def image_suffixes() -> frozenset[str]:
    """What the names of images end in, in lower case."""
    from PIL import Image

    read = {*image_formats(), "MPO"}  # a JPEG with more pictures behind the first
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in read)


def open_image(encoded: bytes) -> "Image":
    """The image in a file's bytes, its pixels not decoded yet.

    Raises:
        PIL.UnidentifiedImageError: of none of the formats that are read.
        ValueError: HEIC, and pillow-heif is not installed.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(encoded), formats=image_formats())
    except UnidentifiedImageError as error:
        if _is_heic(encoded) and "HEIF" not in image_formats():
            raise ValueError(f"HEIC, which needs {HEIC_REMEDY}") from error
        raise


def _is_heic(encoded: bytes) -> bool:
    return encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIC_BRANDS


def _register_heic() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:  # an extra
        return
    register_heif_opener()
