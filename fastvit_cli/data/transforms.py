"""From decoded pixels to a square of the network's size, uint8 throughout; normalisation happens on the device.

Two ways of computing the same: `fast`, on arrays, and `pil`, timm's own transforms. Both draw the same random
numbers in the same order, so that one seed gives the same crops and the same operations either way.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvit_cli.compat import random_crop, replace_operations
from fastvit_cli.data import pixel_operations, resizing
from fastvit_cli.data.data_options import FAST, PIL, RANDOM
from fastvit_cli.data.decoding import Box, Pixels
from fastvit_cli.data.opencv import opencv
from fastvit_cli.data.picture import Picture
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing

Transform = Callable[[Picture], Pixels]
"""An image to (img_size, img_size, 3), uint8 RGB."""
Change = Callable[[Pixels], Pixels]
"""(H, W, 3) uint8 RGB to the same."""


RANDOM_FILTERS = ("bilinear", "bicubic")  # in timm's order


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Attributes:
        min_scale: smallest share of the area that the random crop keeps.
        hflip: probability of a mirror image.
        auto_augment: timm policy such as rand-m9-mstd0.5-inc1; None for colour jitter alone.
        color_jitter: strength of brightness, contrast and saturation changes where there is no policy.
        interpolation: filter of the resize and of the policy's geometry; random draws bilinear or bicubic.
    """

    min_scale: float = 0.08
    hflip: float = 0.5
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    color_jitter: float = 0.4
    interpolation: str = RANDOM


def evaluation_transform(preprocessing: Preprocessing, kind: str = FAST) -> Transform:
    """Resize of the shorter side to img_size / crop_pct, then a centre crop.

    Args:
        kind: `pil` for timm's exact pixels; `fast` differs by 0.003 grey levels on average.
    """
    if kind == PIL or preprocessing.interpolation not in resizing.FILTERS:
        return _WholePicture(_OnPilImages(_timm_evaluation(preprocessing)))
    side = resizing.resized_side(preprocessing.img_size, preprocessing.crop_pct)
    return _FastEvaluation(side, preprocessing.img_size, preprocessing.interpolation)


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation, kind: str = FAST) -> Transform:
    """Random resized crop, mirror, then the policy or colour jitter.

    Raises:
        FastViTError: a policy that timm does not know.
    """
    crop_and_mirror, changes, to_array = _timm_training(preprocessing, augmentation)
    if kind == PIL:
        for change in changes.transforms:
            replace_operations(change, _operation_on_pil)
        return _WholePicture(_OnPilImages(_InTurn((crop_and_mirror, changes, to_array))))
    return _FastTraining(
        preprocessing.img_size,
        RANDOM_FILTERS if augmentation.interpolation == RANDOM else (augmentation.interpolation,),
        (augmentation.min_scale, 1.0),
        augmentation.hflip,
        _InTurn(tuple(map(_on_arrays, changes.transforms))),
    )


@dataclass(frozen=True)
class _FastEvaluation:
    shorter_side: int
    img_size: int
    interpolation: str

    def __call__(self, picture: Picture) -> Pixels:
        return resizing.resize_and_center_crop(picture, self.shorter_side, self.img_size, self.interpolation)


@dataclass(frozen=True)
class _FastTraining:
    img_size: int
    filters: tuple[str, ...]
    scale: tuple[float, float]
    hflip: float
    changes: Change

    def __call__(self, picture: Picture) -> Pixels:
        import torch

        box = Box(*random_crop(picture.height, picture.width, self.scale, _CROP_RATIOS))
        chosen = random.choice(self.filters) if len(self.filters) > 1 else self.filters[0]
        image = resizing.resize_crop(picture, box, self.img_size, chosen)
        if self.hflip > 0 and float(torch.rand(1)) < self.hflip:  # torchvision's flip draws from torch
            image = np.asarray(opencv().flip(image, 1))
        return self.changes(image)


@dataclass(frozen=True)
class _WholePicture:
    """A change of an image that is decoded as a whole."""

    change: Change

    def __call__(self, picture: Picture) -> Pixels:
        return self.change(picture.pixels())


@dataclass(frozen=True)
class _InTurn:
    """One transform after the other."""

    transforms: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


@dataclass(frozen=True)
class _OnPilImages:
    """A transform that takes PIL images."""

    transform: Callable[[Any], Any]

    def __call__(self, pixels: Pixels) -> Pixels:
        from PIL import Image

        changed = self.transform(Image.fromarray(pixels))
        if isinstance(changed, Image.Image):
            return np.array(changed)
        return np.ascontiguousarray(np.asarray(changed).transpose(1, 2, 0))  # timm's last step gives (3, H, W)


@dataclass(frozen=True)
class _FastColorJitter:
    """torchvision's ColorJitter of brightness, contrast and saturation, with its draws."""

    jitter: Any

    def __call__(self, image: Pixels) -> Pixels:
        order, *factors = self.jitter.get_params(
            self.jitter.brightness, self.jitter.contrast, self.jitter.saturation, self.jitter.hue
        )
        for kind in order.tolist():
            if factors[kind] is not None:
                image = _JITTERS[kind](image, factors[kind])
        return image


_CROP_RATIOS = (3 / 4, 4 / 3)
_JITTERS = (pixel_operations.brightness, pixel_operations.contrast, pixel_operations.color)


def _on_arrays(transform: Any) -> Change:
    """The same augmentation on arrays: timm still draws the operations and their strengths, ours carry them out."""
    from timm.data.auto_augment import AugMixAugment
    from torchvision.transforms import ColorJitter

    if isinstance(transform, ColorJitter) and transform.hue is None:
        return _FastColorJitter(transform)
    blends = isinstance(transform, AugMixAugment)  # PIL images
    if not replace_operations(transform, _operation_on_pil if blends else _operation_on_arrays) or blends:
        return _OnPilImages(transform)
    on_arrays: Change = transform
    return on_arrays


def _operation_on_arrays(operation: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(pixel_operations, operation.__name__, None) or _OnPilOperation(operation)


def _operation_on_pil(operation: Callable[..., Any]) -> Callable[..., Any]:
    return _posterize if operation.__name__ == "posterize" else operation


def _posterize(image: Any, bits_to_keep: int, **_: Any) -> Any:
    """timm asks for no bits too, and Pillow refuses that since 13."""
    from PIL import Image

    return Image.fromarray(pixel_operations.posterize(np.asarray(image), bits_to_keep))


@dataclass(frozen=True)
class _OnPilOperation:
    """An operation of timm's that has no counterpart here."""

    operation: Callable[..., Any]

    def __call__(self, image: Pixels, *args: Any, **kwargs: Any) -> Pixels:
        from PIL import Image

        return np.array(self.operation(Image.fromarray(image), *args, **kwargs))


def _timm_evaluation(preprocessing: Preprocessing) -> Callable[[Any], Any]:
    from timm.data import create_transform

    transform: Callable[[Any], Any] = create_transform(
        preprocessing.img_size,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        use_prefetcher=True,  # leaves uint8: mean and std are applied on the device
    )
    return transform


def _timm_training(preprocessing: Preprocessing, augmentation: Augmentation) -> tuple[Any, Any, Any]:
    from timm.data import create_transform

    try:
        crop_and_mirror, changes, to_array = create_transform(
            preprocessing.img_size,
            is_training=True,
            use_prefetcher=True,
            separate=True,
            scale=(augmentation.min_scale, 1.0),
            hflip=augmentation.hflip,
            color_jitter=augmentation.color_jitter or None,
            auto_augment=augmentation.auto_augment,
            interpolation=augmentation.interpolation,
            mean=preprocessing.mean,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise FastViTError(
            f"timm knows no augmentation policy '{augmentation.auto_augment}'.",
            "Pass --auto-augment rand-m9-mstd0.5-inc1, original, 3a, augmix-m3-w3 or none.",
        ) from error
    return crop_and_mirror, changes, to_array
