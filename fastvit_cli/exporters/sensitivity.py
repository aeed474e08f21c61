"""Which layers bear fewer bits: each is tried alone, and the change of the output decides."""

import torch
from torch import Tensor

from fastvit_cli.exporters.check import TOLERANCES

SENSITIVITY_IMAGES = 16


def largest_change(form: str) -> float:
    """How much of the output's norm one layer alone may change: a tenth of what the whole file may.

    Args:
        form: the precision, or the compression; see `TOLERANCES`.
    """
    return TOLERANCES[form] / 10


def some_of(images: Tensor) -> Tensor:
    """Few of the images (B, ...), from all over: data sets lie class by class."""
    count = min(len(images), SENSITIVITY_IMAGES)
    return images[torch.linspace(0, len(images) - 1, count).round().long()]


def relative_change(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, as a share of the norm of what was expected."""
    return float((found - expected).norm() / expected.norm())
