"""Two runtimes, one set of images: how far apart are they?"""

from collections.abc import Iterable
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


def compare(reference: Runtime, other: Runtime, batches: Iterable[Tensor]) -> Comparison:
    """Run both on the same batches, each (B, 3, H, W), raw uint8 or normalised float32.

    Raises:
        FastViTError: no images, or models with a different number of classes.
    """
    expected_parts, found_parts = [], []
    for images in batches:
        expected, found = reference.logits(images), other.logits(images)
        if expected.shape != found.shape:
            raise FastViTError(
                f"{reference.engine} gives {expected.shape[-1]} values per image, {other.engine} {found.shape[-1]}.",
                "Compare models with the same classes.",
            )
        expected_parts.append(expected)
        found_parts.append(found)
    if not expected_parts:
        raise FastViTError("There are no images to compare on.", "Pass --data with at least one image.")
    return compare_logits(torch.cat(expected_parts), torch.cat(found_parts))


def compare_logits(expected: Tensor, found: Tensor) -> Comparison:
    """Compare two sets of logits, (B, classes) each."""
    difference = (expected.double() - found.double()).abs()
    return Comparison(
        num_images=len(expected),
        max_abs_error=difference.max().item(),  # a NaN anywhere comes out as NaN
        mean_abs_error=difference.mean().item(),
        max_abs_logit=expected.abs().max().item(),
        top1_agreement=(expected.argmax(1) == found.argmax(1)).double().mean().item(),
    )
