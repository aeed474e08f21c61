"""A model that is fast because it only looks at colours."""

from __future__ import annotations

import torch
from helpers.loaded import loaded_model
from torch import Tensor


class Colours:
    """A runtime of five classes whose logits are mean colours. See `runtimes.base.Runtime`."""

    engine = "colours"
    device_name = "cpu"

    def __init__(self, sharpness: float = 8.0, shift: float = 0.0) -> None:
        self.info = loaded_model("t8").info
        self.sharpness = sharpness
        self.shift = shift

    def logits(self, images: Tensor) -> Tensor:
        means = images.float().mean((2, 3)) / 255.0
        mixed = torch.cat([means, means[:, :2].flip(1) * 0.9], dim=1)
        return self.sharpness * mixed + torch.linspace(0.0, self.shift, 5)
