"""Every kind of image becomes the RGB pixels that PIL gives."""

import io
from pathlib import Path

import numpy as np
import pytest
from helpers.jpegs import JPEGS, encode
from helpers.photo import photo, photo_file
from PIL import Image, ImageOps

from fastvit_cli.data import decoding
from fastvit_cli.data.decoding import decode


def _by_pil(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def _sample(mode: str = "RGB") -> Image.Image:
    return photo().resize((67, 45)).convert(mode)


@pytest.mark.parametrize("kind", JPEGS)
def test_jpegs_take_the_fast_way_to_the_same_pixels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(_sample(), "JPEG", **JPEGS[kind])
    expected = _by_pil(encoded)
    monkeypatch.setattr(decoding, "_decode_with_pil", None)
    assert np.array_equal(decode(encoded), expected)


def test_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = photo_file().read_bytes()
    monkeypatch.setattr(decoding, "_decode_with_pil", None)
    assert np.array_equal(decode(encoded), np.asarray(photo()))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours(mode: str) -> None:
    encoded = encode(_sample(mode), "JPEG")
    assert np.array_equal(decode(encoded), _by_pil(encoded))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("TIFF", mode) for mode in ("1", "L", "RGB", "RGBA", "CMYK", "LAB")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
        *(("GIF", mode) for mode in ("L", "P")),
        *(("PPM", mode) for mode in ("L", "RGB")),
    ],
)
def test_other_formats(kind: str, mode: str) -> None:
    image = _sample("RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    encoded = encode(image, kind)
    pixels = decode(encoded)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (45, 67, 3))
    assert np.array_equal(pixels, _by_pil(encoded))


def test_a_palette_with_a_transparent_colour() -> None:
    encoded = encode(_sample("P"), "PNG", transparency=3)
    assert np.array_equal(decode(encoded), _by_pil(encoded))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_single_pixel(kind: str) -> None:
    assert decode(encode(Image.new("RGB", (1, 1), "red"), kind)).shape == (1, 1, 3)


def test_an_image_that_is_open_already() -> None:
    assert np.array_equal(decode(_sample("L")), np.asarray(_sample("L").convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_ignored_unless_asked_for(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(_sample(), kind, exif=exif)
    with Image.open(io.BytesIO(encoded)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decode(encoded), _by_pil(encoded))
    turned = decode(encoded, exif=True)
    assert np.array_equal(turned, upright)
    assert turned.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_without_exif_or_with_nonsense_in_it(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    for options in ({}, {"exif": exif}):
        encoded = encode(_sample(), kind, **options)
        assert np.array_equal(decode(encoded, exif=True), _by_pil(encoded))


@pytest.mark.parametrize("kept", [0, 2, 100, 0.5, -2, -1])
def test_a_truncated_jpeg_is_refused_as_pil_does(kept: float) -> None:
    whole = encode(_sample().resize((300, 200)), "JPEG")
    cut = whole[: int(len(whole) * kept) if isinstance(kept, float) else kept]
    with pytest.raises(Exception, match=r"truncated|Truncated|cannot identify"):
        decode(cut)


def test_what_pil_forgives_is_forgiven() -> None:
    """Stray bytes before a marker: libjpeg warns, and PIL shows the image."""
    whole = encode(_sample(), "JPEG")
    end = whole.rindex(b"\xff\xd9")
    stray = whole[:end] + b"\x00" * 7 + whole[end:]
    assert np.array_equal(decode(stray), _by_pil(stray))


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image(content: bytes) -> None:
    with pytest.raises(Exception, match=r"."):
        decode(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 67 * 45 - 1)
    with pytest.raises(ValueError, match="67 x 45 are more than 3,014 pixels"):
        decode(encode(_sample(), kind))


def test_the_limit_is_that_of_pil() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert decoding.MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_the_names_of_the_files_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(encode(_sample(), "PNG"))
    assert np.array_equal(decode(path.read_bytes()), np.asarray(_sample()))
