"""A picture has the same pixels whether it is decoded at once, later, or in part."""

import numpy as np
import pytest
from helpers.jpegs import encode
from helpers.photo import photo, photo_file
from PIL import Image, UnidentifiedImageError

from fastvit_cli.data import turbojpeg
from fastvit_cli.data.decoding import Box, decode
from fastvit_cli.data.picture import Picture, UnreadableImageError, reason_of

BOX = Box(20, 30, 50, 40)
INSIDE = slice(BOX.top, BOX.bottom), slice(BOX.left, BOX.right)


@pytest.fixture(params=[True, False], ids=["with the library", "without it"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if libjpeg-turbo 3 were there; it may still not take a file."""
    monkeypatch.setattr(turbojpeg, "available", lambda: request.param)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    return encode(photo().resize((120, 90)), exif=exif)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_size_and_pixels(kind: str) -> None:
    data = encode(photo().resize((120, 90)), kind)
    picture = Picture.open(data)
    assert (picture.height, picture.width) == (90, 120)
    assert np.array_equal(picture.pixels(), decode(data))
    assert np.array_equal(picture.up_to(BOX)[INSIDE], decode(data)[INSIDE])


@pytest.mark.usefixtures("_library")
def test_upright_pictures_are_turned_before_a_part_is_taken() -> None:
    picture = Picture.open(_turned(), exif=True)
    assert (picture.height, picture.width) == (120, 90)
    assert np.array_equal(picture.up_to(BOX)[INSIDE], decode(_turned(), exif=True)[INSIDE])
    lying = Picture.open(_turned())
    assert (lying.height, lying.width) == (90, 120)


@pytest.mark.usefixtures("_library")
def test_a_damaged_file_is_said_to_be_one() -> None:
    with pytest.raises((UnreadableImageError, OSError), match="truncated"):
        Picture.open(photo_file().read_bytes()[:5000]).up_to(BOX)


@pytest.mark.usefixtures("_library")
def test_bombs_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvit_cli.data.decoding.MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="more than 1,000 pixels"):
        Picture.open(photo_file().read_bytes())


def test_reasons_are_one_line() -> None:
    assert reason_of(ValueError("first\nsecond")) == "first"
    with pytest.raises(MemoryError):  # the image is not to blame
        reason_of(MemoryError())
    with pytest.raises(UnidentifiedImageError) as caught:
        Picture.open(b"no image")
    assert reason_of(caught.value) == "no image of a known kind"
