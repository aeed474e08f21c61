"""What every runtime promises."""

import functools
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo

if TYPE_CHECKING:
    import torch


class Runtime(Protocol):
    """An opened model.

    Attributes:
        engine: torch, onnxruntime, ….
        device_name: where it computes, for people.
        info: variant, classes, preprocessing.
    """

    engine: str
    device_name: str
    info: ModelInfo

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, classes), float32 on the CPU.

        Args:
            images: (B, 3, H, W) RGB, either raw uint8 or float32 already normalised.
        """
        ...


def normalize(images: Tensor, info: ModelInfo) -> Tensor:
    """Raw uint8 images as the model was trained to see them; float images pass unchanged.

    (B, 3, H, W) to float32 (B, 3, H, W), on the same device.
    """
    import torch

    if images.dtype != torch.uint8:
        return images
    mean = _channels(info.preprocessing.mean, images.device)
    std = _channels(info.preprocessing.std, images.device)
    # Batches are channels-last in memory. Kept, that would reach the network, whose backward then crashes torch on
    # AVX-512 CPUs.
    plain = images.to(torch.float32, memory_format=torch.contiguous_format)
    return plain.div_(255.0).sub_(mean).div_(std)


@functools.lru_cache(maxsize=16)
def _channels(values: tuple[float, ...], device: "torch.device") -> Tensor:
    """One value a channel (3, 1, 1) on the device: copied there once, for a copy makes the host wait."""
    import torch

    with torch.inference_mode(False):  # or only inference could use it ever after
        return torch.tensor(values, device=device).reshape(3, 1, 1)
