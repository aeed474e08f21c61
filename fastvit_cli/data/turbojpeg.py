"""Parts of JPEGs, by the C interface of libjpeg-turbo 3, where that library is installed.

A random crop shows half of the pixels of a training image on average. libjpeg-turbo can leave out most of the work
for the others, but none of the Python packages around it offers that. So this module calls its documented interface
(TurboJPEG 3.0, https://libjpeg-turbo.org/Documentation/Documentation) by ctypes, with a handle for each call, which
makes it safe in threads and after a fork. Whatever the library does not take, the caller decodes as a whole.
"""

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata

import numpy as np

from fastvit_cli.data.decoding import Box, Pixels

_DECOMPRESS = 1  # TJINIT_DECOMPRESS
_STOP_ON_WARNING, _SUBSAMPLING, _WIDTH, _HEIGHT = 0, 4, 5, 6  # TJPARAM_…
_RGB = 0  # TJPF_RGB
# Pixels that are coded together in one row, by TJSAMP_…: 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1.
_BLOCK_WIDTHS = {0: 8, 1: 16, 2: 16, 3: 8, 4: 8, 5: 32, 6: 8}
# Colours between two samples are interpolated, at the border of what is decoded from one side alone.
_MARGIN = 2
_END_OF_IMAGE = b"\xff\xd9"


def decode_part(encoded: bytes, box: Box) -> Pixels | None:
    """The image at least as far as the box's last row and column; only within the box are its pixels what they are.

    Returns:
        (H, W, 3) uint8 RGB, with H and W at least the box's bottom and right; or None: there is no library, or the
        file is damaged, cut off, or of a kind that it does not take.
    """
    library = _library()
    # Rows below the box are not looked at; that none are missing is seen from the mark at the end.
    if library is None or not encoded.endswith(_END_OF_IMAGE):
        return None
    handle = library.tj3Init(_DECOMPRESS)
    if not handle:
        return None
    try:
        return _decode_part(library, handle, encoded, box)
    finally:
        library.tj3Destroy(handle)


def available() -> bool:
    """Whether libjpeg-turbo 3 is here."""
    return _library() is not None


def _decode_part(library: ctypes.CDLL, handle: int, encoded: bytes, box: Box) -> Pixels | None:
    library.tj3Set(handle, _STOP_ON_WARNING, 1)
    if library.tj3DecompressHeader(handle, encoded, len(encoded)) != 0:
        return None
    width, height = library.tj3Get(handle, _WIDTH), library.tj3Get(handle, _HEIGHT)
    block = _BLOCK_WIDTHS.get(library.tj3Get(handle, _SUBSAMPLING))
    if block is None:
        return None
    left = max(0, box.left - _MARGIN) // block * block  # the library begins with whole blocks alone
    right = min(width, box.right + _MARGIN)
    top, bottom = max(0, box.top - _MARGIN), min(height, box.bottom + _MARGIN)
    if library.tj3SetCroppingRegion(handle, _Region(left, top, right - left, bottom - top)) != 0:
        return None
    pixels = np.empty((bottom, right, 3), np.uint8)
    place = pixels.ctypes.data + 3 * (top * right + left)
    if library.tj3Decompress8(handle, encoded, len(encoded), place, 3 * right, _RGB) != 0:
        return None
    return pixels


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


@functools.cache
def _library() -> ctypes.CDLL | None:
    for path in _places():
        with suppress(OSError):
            library = ctypes.CDLL(path)
            if hasattr(library, "tj3SetCroppingRegion"):  # version 2 has no parts
                return _declared(library)
    return None


def _places() -> Iterator[str]:
    """Where the library may be: on the system's paths, beside Python (conda), in its own folder, in a wheel."""
    name = "libturbojpeg.dylib" if sys.platform == "darwin" else "libturbojpeg.so.0"
    yield name
    for folder in (f"{sys.prefix}/lib", "/opt/homebrew/lib", "/opt/libjpeg-turbo/lib64"):
        yield f"{folder}/{name}"
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("turbojpeg") or ():
            if file.name.startswith("libturbojpeg"):
                yield str(file.locate())


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """With the types that ctypes must know to pass addresses whole."""
    address, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.tj3Init.argtypes, library.tj3Init.restype = (number,), address
    library.tj3Destroy.argtypes, library.tj3Destroy.restype = (address,), None
    library.tj3Set.argtypes = (address, number, number)
    library.tj3Get.argtypes = (address, number)
    library.tj3DecompressHeader.argtypes = (address, ctypes.c_char_p, size)
    library.tj3SetCroppingRegion.argtypes = (address, _Region)
    library.tj3Decompress8.argtypes = (address, ctypes.c_char_p, size, address, number, number)
    return library
