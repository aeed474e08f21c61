"""The fast resize against PIL's, on a real photograph."""

import numpy as np
import pytest
from helpers.photo import photo, photo_pixels
from PIL import Image
from timm.data import create_transform

from fastvit_cli.data.decoding import Box
from fastvit_cli.data.picture import Picture
from fastvit_cli.data.resizing import resize_and_center_crop, resize_crop, resized_side

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("width", "height", "side", "crop_pct"),
    [
        (500, 375, 256, 0.9),
        (375, 500, 256, 0.95),
        (333, 333, 256, 1.0),
        (64, 48, 160, 0.9),
        (61, 500, 96, 0.875),
        (512, 37, 33, 0.8),
    ],
)
def test_pixels_are_timms_but_for_the_rounding(
    width: int, height: int, side: int, crop_pct: float, interpolation: str
) -> None:
    image = photo().resize((width, height))
    transform = create_transform(side, interpolation=interpolation, crop_pct=crop_pct, use_prefetcher=True)
    theirs = np.asarray(transform(image)).transpose(1, 2, 0)
    ours = resize_and_center_crop(Picture.of(np.array(image)), resized_side(side, crop_pct), side, interpolation)
    difference = np.abs(theirs.astype(int) - ours)
    assert (ours.dtype, ours.shape) == (np.uint8, (side, side, 3))
    assert difference.max() <= 2
    assert difference.mean() < 0.02


def test_a_box_is_resized_as_if_it_were_the_image() -> None:
    pixels = photo_pixels(200)
    ours = resize_crop(Picture.of(pixels), Box(20, 10, 120, 90), 64, "bicubic")
    box = Image.fromarray(pixels).crop((10, 20, 100, 140)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(box).astype(int) - ours).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (3, 2)])
def test_strips_and_single_pixels(height: int, width: int) -> None:
    """Enlarged as a whole, a strip of one pixel's width would take gigabytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert resize_and_center_crop(Picture.of(pixels), 284, 256, "bicubic").shape == (256, 256, 3)


def test_a_strip_shows_the_middle() -> None:
    pixels = np.zeros((1, 3001, 3), np.uint8)
    pixels[:, 1500] = 255
    shown = resize_and_center_crop(Picture.of(pixels), 256, 256, "bilinear")
    assert shown[128, 128].min() > 250
    assert abs(shown[128, 0].astype(int) - 128).max() < 3  # half-way to its black neighbours
    assert np.array_equal(shown, shown[:, ::-1])
