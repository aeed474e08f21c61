"""Two runtimes, one set of images: how far apart are they?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import Runtime


@dataclass(frozen=True)
class Comparison:
    """How two runtimes agree.

    Attributes:
        num_images: images compared.
        max_abs_error: largest difference of any logit; NaN when one of the runtimes gave NaN.
        mean_abs_error: mean difference over all logits.
        max_abs_logit: largest logit of the reference, the scale that errors are judged by.
        top1_agreement: share of images, 0 to 1, on which both name the same class.
    """

    num_images: int
    max_abs_error: float
    mean_abs_error: float
    max_abs_logit: float
    top1_agreement: float


def compare(
    reference: Runtime,
    other: Runtime,
    batches: Iterable[Tensor],
    on_batch: Callable[[Tensor, Tensor], None] | None = None,
) -> Comparison:
    """Run both on the same batches, each (B, 3, H, W), raw uint8 or normalised float32.

    Args:
        on_batch: called with the logits of both, (B, classes) each.

    Raises:
        FastViTError: no images, or models with a different number of classes.
    """
    counter = ComparisonCounter()
    for images in batches:
        expected, found = reference.logits(images), other.logits(images)
        check_same_outputs(reference, expected, other, found)
        counter.add(expected, found)
        if on_batch is not None:
            on_batch(expected, found)
    return counter.comparison


def check_same_outputs(reference: Runtime, expected: Tensor, other: Runtime, found: Tensor) -> None:
    """Refuse two models that give different numbers of values for an image.

    Raises:
        FastViTError: the two gave a different number of values per image.
    """
    if expected.shape != found.shape:
        raise FastViTError(
            f"{reference.engine} gives {expected.shape[-1]} values per image, {other.engine} {found.shape[-1]}.",
            "Compare models with the same classes.",
        )


def compare_logits(expected: Tensor, found: Tensor) -> Comparison:
    """Compare two sets of logits, (B, classes) each."""
    counter = ComparisonCounter()
    counter.add(expected, found)
    return counter.comparison


class ComparisonCounter:
    """Adds up batches of logits, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._images = self._values = self._agreed = 0
        self._largest = torch.zeros((), dtype=torch.float64)
        self._largest_logit = torch.zeros(())
        self._sum = 0.0

    def add(self, expected: Tensor, found: Tensor) -> None:
        """Count one batch, (B, classes) each."""
        difference = (expected.double() - found.double()).abs()
        self._largest = torch.maximum(self._largest, difference.max())  # a NaN anywhere stays one
        self._largest_logit = torch.maximum(self._largest_logit, expected.abs().max())
        self._sum += difference.sum().item()
        self._values += difference.numel()
        self._agreed += int((expected.argmax(1) == found.argmax(1)).sum())
        self._images += len(expected)

    @property
    def comparison(self) -> Comparison:
        """So far.

        Raises:
            FastViTError: no images.
        """
        if not self._images:
            raise FastViTError("There are no images to compare on.", "Pass --data with at least one image.")
        return Comparison(
            num_images=self._images,
            max_abs_error=self._largest.item(),
            mean_abs_error=self._sum / self._values,
            max_abs_logit=self._largest_logit.item(),
            top1_agreement=self._agreed / self._images,
        )
