"""Grey images of more than 8 bits keep their shades."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from helpers.jpegs import encode
from PIL import Image

from fastvit_cli.data.decoding import Decoded, decode_with_depth
from fastvit_cli.data.deep_images import deep_words

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_BLACK_IS_ZERO = 1


def _tiff(
    values: Any, kind: str, sample_format: int, photometric: int = _BLACK_IS_ZERO, orientation: int = 1
) -> bytes:
    """An uncompressed TIFF of one line, in the byte order of numpy's `kind`."""
    array = np.array([values], kind)
    order, bits = kind[0], array.dtype.itemsize * 8
    return _tiff_of(array.tobytes(), array.shape[1], order, bits, sample_format, photometric, orientation)


def _tiff_of(data: bytes, width: int, order: str, bits: int, *rest: int) -> bytes:
    sample_format, photometric, orientation = rest
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 274: orientation}
    tags |= {277: 1, 278: 1, 279: len(data), 339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    return start + entries + struct.pack(order + "I", 0) + data


def _line(decoded: Decoded) -> list[int]:
    assert (decoded.pixels.dtype, decoded.pixels.shape[2]) == (np.uint8, 3)
    assert (decoded.pixels == decoded.pixels[..., :1]).all(), "it is grey"
    return decoded.pixels[..., 0].ravel().tolist()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("values", "kind", "sample_format", "expected"),
    [
        ([0, 257, 32768, 65535], "u2", _UNSIGNED, [0, 1, 128, 255]),
        ([0, 100, 255], "u2", _UNSIGNED, [0, 0, 1]),  # the format's range, whatever the image is like
        ([0, 257, 32767], "i2", _SIGNED, [0, 1, 127]),
        ([0, 100, 255], "i2", _SIGNED, [0, 100, 255]),
        ([-1000, 0, 2000], "i2", _SIGNED, [0, 85, 255]),
        ([0, 100, 255], "i4", _SIGNED, [0, 100, 255]),
        ([0, 257, 65535], "i4", _SIGNED, [0, 1, 255]),
        ([-(2**31), 0, 2**31 - 1], "i4", _SIGNED, [0, 128, 255]),
        ([0.0, 0.5, 1.0], "f4", _FLOAT, [0, 128, 255]),
        ([0.0, 0.1, 0.2], "f4", _FLOAT, [0, 26, 51]),
        ([-3.0, 2.0, 7.0], "f4", _FLOAT, [0, 128, 255]),
        ([-3e38, 0.0, 3e38], "f4", _FLOAT, [0, 128, 255]),
        ([5.0, 5.0], "f4", _FLOAT, [0, 0]),
        ([np.nan, 0.0, 1.0, np.inf, -np.inf], "f4", _FLOAT, [0, 0, 255, 255, 0]),
        ([np.nan, -10.0, 10.0, np.inf, -np.inf], "f4", _FLOAT, [0, 0, 255, 255, 0]),
    ],
)
def test_tiff(values: list[float], kind: str, sample_format: int, expected: list[int], order: str) -> None:
    decoded = decode_with_depth(_tiff(values, order + kind, sample_format))
    assert _line(decoded) == expected
    bits = "float" if sample_format == _FLOAT else f"{8 * int(kind[1])}-bit"
    assert decoded.deep == f"{bits} TIFF"


def test_unsigned_32_bit_values_above_the_signed_range() -> None:
    assert _line(decode_with_depth(_tiff([0, 2**31, 2**32 - 1], "<u4", _UNSIGNED))) == [0, 128, 255]


def test_12_bit_tiff() -> None:
    packed = bytes([0xFF, 0xF8, 0x00])  # 4,095 and 2,048
    decoded = decode_with_depth(_tiff_of(packed, 2, "<", 12, _UNSIGNED, _BLACK_IS_ZERO, 1))
    assert (_line(decoded), decoded.deep) == ([255, 128], "12-bit TIFF")


@pytest.mark.parametrize(("values", "kind", "sample_format"), [([0, 65535], "<u2", 1), ([0, 1], "<f4", 3)])
def test_tiff_whose_white_is_zero(values: list[float], kind: str, sample_format: int) -> None:
    assert _line(decode_with_depth(_tiff(values, kind, sample_format, photometric=0))) == [255, 0]


def test_an_image_without_a_number_is_unreadable() -> None:
    with pytest.raises(ValueError, match="not one of its values is a number"):
        decode_with_depth(_tiff([np.nan, np.inf], "<f4", _FLOAT))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_a_ramp_of_16_bits_keeps_its_shades(kind: str) -> None:
    ramp = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    decoded = decode_with_depth(encode(Image.fromarray(ramp), kind))
    assert decoded.deep == f"16-bit {kind}"
    assert np.array_equal(decoded.pixels[..., 0], np.rint(ramp / 257))


@pytest.mark.parametrize(("most", "expected"), [(65535, [0, 127, 255]), (4095, [0, 127, 255])])
def test_pgm_is_scaled_by_its_own_maximum(most: int, expected: list[int]) -> None:
    encoded = b"P5 3 1 %d\n" % most + np.array([0, most // 2, most], ">u2").tobytes()
    assert _line(decode_with_depth(encoded)) == expected


def test_floats_of_pfm() -> None:
    decoded = decode_with_depth(b"Pf\n3 1\n-1.0\n" + np.array([0, 0.5, 2], "<f4").tobytes())
    assert (_line(decoded), decoded.deep) == ([0, 64, 255], "float PPM")


@pytest.mark.parametrize("exif", [False, True])
def test_deep_images_are_turned_upright_as_others_are(exif: bool) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3)
    shallow, deep = (
        decode_with_depth(encode(Image.fromarray(pixels), "PNG", exif=tag), exif=exif).pixels
        for pixels in (grey.astype(np.uint8), grey * 257)
    )
    assert shallow.shape == ((3, 2, 3) if exif else (2, 3, 3))
    assert np.array_equal(deep, shallow)


@pytest.mark.parametrize("exif", [False, True])
def test_a_tiff_that_lies_on_its_side(exif: bool) -> None:
    """Pillow turns TIFFs by itself; they are not turned twice."""
    decoded = decode_with_depth(_tiff([0, 65535], "<u2", _UNSIGNED, orientation=6), exif=exif)
    assert decoded.pixels.shape == (2, 1, 3)
    assert _line(decoded) == [0, 255]


def test_deep_colours_become_8_bits_in_pillow() -> None:
    import cv2

    pixels = np.arange(0, 48 * 1300, 1300, dtype=np.uint16).reshape(4, 4, 3)
    for suffix in (".png", ".tif"):
        encoded = cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()
        decoded = decode_with_depth(encoded)
        assert decoded.deep is None
        assert np.abs(decoded.pixels - pixels / 257).max() < 1


def test_an_open_image_of_integers() -> None:
    decoded = decode_with_depth(Image.fromarray(np.array([[0, 65535]], np.int32)))
    assert (_line(decoded), decoded.deep) == ([0, 255], "32-bit")


def test_other_images_are_not_deep() -> None:
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        assert decode_with_depth(encode(Image.new(mode, (2, 2)), "PNG")).deep is None
    assert decode_with_depth(encode(Image.new("RGB", (8, 8)), "JPEG")).deep is None


def test_what_is_said_of_them() -> None:
    assert deep_words({"16-bit PNG": 1}) == "1 deep image (1 16-bit PNG), scaled to 8 bits"
    both = deep_words({"float TIFF": 8, "16-bit PNG": 1600})
    assert both == "1,608 deep images (1,600 16-bit PNG, 8 float TIFF), scaled to 8 bits"


def test_all_ways_of_reading_give_the_same(tmp_path: Any) -> None:
    """Training, validation and prediction decode in one place."""
    from fastvit_cli.data.picture import Picture

    encoded = _tiff([0, 32768, 65535], ">u2", _UNSIGNED)
    (tmp_path / "x.tif").write_bytes(encoded)
    for source in (encoded, Image.open(io.BytesIO(encoded)), Image.open(tmp_path / "x.tif")):
        picture = Picture.open(source)
        assert (picture.deep, picture.pixels()[0, :, 0].tolist()) == ("16-bit TIFF", [0, 128, 255])
