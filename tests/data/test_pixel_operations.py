"""Our operations against timm's, on a real photograph."""

import numpy as np
import pytest
from helpers.photo import photo_pixels
from PIL import Image
from timm.data import auto_augment

from fastvit_cli.data import pixel_operations

KEYWORDS = {"fillcolor": (124, 116, 104), "resample": Image.Resampling.BICUBIC}
# Each operation with its strengths in the policies, and the mean absolute difference allowed, in grey levels.
EXACT = {
    "auto_contrast": [()],
    "equalize": [()],
    "invert": [()],
    "solarize": [(0,), (26,), (128,), (256,)],
    "solarize_add": [(0,), (99,), (110,)],
    "posterize": [(1,), (4,), (8,)],
    "brightness": [(0.1,), (0.55,), (1.0,), (1.9,)],
}
CLOSE = {
    "contrast": ([(0.1,), (0.55,), (1.0,), (1.9,)], 0.05),
    "color": ([(0.1,), (0.55,), (1.0,), (1.9,)], 0.6),
    "desaturate": ([(0.0,), (0.4,), (1.0,)], 0.6),
    "sharpness": ([(0.1,), (0.55,), (1.0,), (1.9,)], 0.6),
    "gaussian_blur": ([(0.5,), (1.3,)], 0.8),
    "rotate": ([(27.0,), (-13.0,), (0.0,)], 1.2),
    "shear_x": ([(0.27,), (-0.1,)], 1.2),
    "shear_y": ([(0.27,), (-0.1,)], 1.2),
    "translate_x_rel": ([(0.405,), (-0.2,)], 1.2),
    "translate_y_rel": ([(0.405,), (-0.2,)], 1.2),
    "translate_x_abs": ([(14,), (-3.5,)], 1.2),
    "translate_y_abs": ([(14,), (-3.5,)], 1.2),
}


def _difference(name: str, arguments: tuple[float, ...], pixels: np.ndarray, **keywords: object) -> np.ndarray:
    theirs = getattr(auto_augment, name)(Image.fromarray(pixels), *arguments, **{**KEYWORDS, **keywords})
    ours = getattr(pixel_operations, name)(pixels, *arguments, **{**KEYWORDS, **keywords})
    assert (ours.dtype, ours.shape) == (np.uint8, pixels.shape)
    return np.abs(np.asarray(theirs).astype(int) - ours)


@pytest.mark.parametrize("name", EXACT)
def test_tables_give_the_very_pixels(name: str) -> None:
    for arguments in EXACT[name]:
        for seed in range(4):
            assert _difference(name, arguments, photo_pixels(96, seed)).max() == 0


def test_posterize_without_bits_is_black() -> None:
    """As timm's RandAugment asks for it, and Pillow since 13 refuses it."""
    assert not pixel_operations.posterize(photo_pixels(32), 0).any()


@pytest.mark.parametrize("name", CLOSE)
def test_kernels_are_close(name: str) -> None:
    cases, allowed = CLOSE[name]
    for arguments in cases:
        means = [_difference(name, arguments, photo_pixels(128, seed)).mean() for seed in range(4)]
        assert max(means) <= allowed, (arguments, means)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "translate_y_rel"])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.NEAREST])
def test_geometry_with_other_filters(name: str, resample: Image.Resampling) -> None:
    allowed = 2.5 if resample == Image.Resampling.NEAREST else 0.8
    assert _difference(name, (0.13,), photo_pixels(128), resample=resample).mean() <= allowed


def test_geometry_leaves_the_fill_colour_behind() -> None:
    moved = pixel_operations.translate_x_rel(photo_pixels(64), 0.5, **KEYWORDS)
    assert (moved[:, 40:] == KEYWORDS["fillcolor"]).all()


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_the_image_itself_stays_as_it_is(name: str) -> None:
    pixels = photo_pixels(48)
    before = pixels.copy()
    cases = EXACT.get(name) or CLOSE[name][0]
    getattr(pixel_operations, name)(pixels, *cases[0], **KEYWORDS)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("name", ["auto_contrast", "equalize", "contrast", "sharpness"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (2, 40, 3)])
def test_images_of_one_colour_and_tiny_ones(name: str, shape: tuple[int, ...]) -> None:
    arguments = () if name in EXACT else (1.7,)
    flat = np.full(shape, 93, np.uint8)
    assert _difference(name, arguments, flat).max() == 0


def test_every_operation_of_timms_policies_has_a_counterpart() -> None:
    used = {operation.__name__ for operation in auto_augment.NAME_TO_OP.values()}
    missing = {name for name in used if not hasattr(pixel_operations, name)}
    assert missing == {"gaussian_blur_rand"}, "those go through PIL"
