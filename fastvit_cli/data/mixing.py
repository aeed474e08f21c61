"""Augmentation of whole batches on the device: random erasing, mixup, cutmix."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MixingConfig:
    """Alphas of mixup and cutmix (0 for none), probability of erasing, label smoothing of mixed targets.

    Attributes:
        probability: that a batch is mixed at all.
        switch_probability: of cutmix rather than mixup, where both are on.
    """

    mixup: float
    cutmix: float
    random_erasing: float
    label_smoothing: float
    probability: float = 1.0
    switch_probability: float = 0.5


class BatchMixer:
    """Normalised images (B, 3, H, W) and labels (B,) to the same with augmentation.

    Labels become soft targets (B, classes), smoothed, when mixup or cutmix is on. Needs an even B then.
    """

    def __init__(self, config: MixingConfig, num_classes: int, device: torch.device) -> None:
        from timm.data import Mixup
        from timm.data.random_erasing import RandomErasing

        self._erase = (
            RandomErasing(config.random_erasing, mode="pixel", device=device) if config.random_erasing else None
        )
        self._mix = (
            Mixup(
                config.mixup,
                config.cutmix,
                prob=config.probability,
                switch_prob=config.switch_probability,
                label_smoothing=config.label_smoothing,
                num_classes=num_classes,
            )
            if config.mixup or config.cutmix
            else None
        )

    def __call__(self, images: Tensor, labels: Tensor, *, mix: bool = True) -> tuple[Tensor, Tensor]:
        if self._erase is not None:
            images = self._erase(images)
        if mix and self._mix is not None:
            images, labels = self._mix(images, labels)
        return images, labels
