"""From an image file to a uint8 tensor of the network's size; normalisation happens on the device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastvit_cli.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Transform = Callable[["Image"], "np.ndarray[Any, np.dtype[np.uint8]]"]
"""A PIL image to a uint8 array (3, img_size, img_size)."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Attributes:
        min_scale: smallest share of the area that the random crop keeps.
        hflip: probability of a mirror image.
        auto_augment: timm policy such as rand-m9-mstd0.5-inc1; None for no policy.
    """

    min_scale: float = 0.08
    hflip: float = 0.5
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"


def read_image(path: str) -> "Image":
    """Decode to RGB. EXIF orientation is ignored, as in the published numbers.

    Raises:
        OSError, ValueError, SyntaxError: whatever PIL finds wrong with the file.
    """
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Resize of the shorter side to img_size / crop_pct, then a centre crop: timm's exact pixels."""
    from timm.data import create_transform

    transform: Transform = create_transform(
        preprocessing.img_size,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        use_prefetcher=True,  # leaves uint8: mean and std are applied on the device
    )
    return transform


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation) -> Transform:
    """Random resized crop, mirror, policy."""
    from timm.data import create_transform

    transform: Transform = create_transform(
        preprocessing.img_size,
        is_training=True,
        use_prefetcher=True,
        scale=(augmentation.min_scale, 1.0),
        hflip=augmentation.hflip,
        color_jitter=None,
        auto_augment=augmentation.auto_augment,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
    )
    return transform
