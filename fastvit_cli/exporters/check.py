"""The check that follows every export: the written file against the network it was made from."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import RealImages
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.metrics import accuracy
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.compare import Comparison, compare, compare_logits
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
from fastvit_cli.runtimes.open import open_runtime

RANDOM_IMAGES = 8
_BATCH = 16

# Largest difference allowed, as a share of the largest logit. Measured from t8 to ma36, with random weights, those of
# the golden rule and trained ones: float32 at most 1.5e-5 (other orders of summation, ONNX Runtime's own GELU),
# float16 at most 8e-3 (each of up to 300 intermediates is rounded by up to 4.9e-4; trained weights add up most).
# Fewer bits in all layers of a trained t8 bring up to 1.4; `sensitivity` leaves out the layers that cost most.
TOLERANCES = {
    "fp32": 1e-4,
    "fp16": 2e-2,
    "mixed": 2e-2,
    "palettize8": 0.1,
    "palettize6": 0.3,
    "palettize4": 0.5,
    "int8": 0.5,
    "int4": 0.5,
}
_SMALLEST_PROBABILITY = 1e-4  # below it, float16 soon rounds to few bits and then to 0: all that is less is the same


@dataclass(frozen=True)
class AccuracyChange:
    """Top-1 on the same labelled images, percent: of the network, and of the file made from it."""

    before: float
    after: float
    num_images: int


@dataclass(frozen=True)
class CheckResult:
    """What the check of an exported file found.

    Attributes:
        max_abs_error: largest difference of any logit to PyTorch's; None when the file gave none or NaN.
        mean_abs_error: mean difference over all logits, likewise.
        tolerance: what it may be, absolute.
        top1_agreement: share of images, 0 to 1, on which the file and PyTorch name the same class; None without
            a classifier.
        accuracy: of both, where the images have labels.
        num_images: images compared.
        passed: the error is within the tolerance and nothing else is wrong.
        method: how it was checked, in words.
        problems: what is wrong, one sentence each.
    """

    max_abs_error: float | None
    mean_abs_error: float | None
    tolerance: float | None
    top1_agreement: float | None
    accuracy: AccuracyChange | None
    num_images: int
    passed: bool
    method: str
    problems: tuple[str, ...]


def random_images(count: int, size: int, seed: int) -> Tensor:
    """Noise (count, 3, size, size), uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def check_export(
    path: Path,
    reference: Runtime,
    real: RealImages | None,
    precision: str,
    problems: tuple[str, ...],
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Run the written file beside the network it was made from.

    Args:
        precision: the precision, or the compression; see `TOLERANCES`.
        real: images beside the random ones.
        problems: what the inspection of the file found already.
        on_progress: called with the images compared so far and their number.
    """
    noise = random_images(RANDOM_IMAGES, reference.info.preprocessing.img_size, seed)
    everything = noise if real is None else torch.cat([noise, real.pixels])
    words = f"{RANDOM_IMAGES} random" + (f" and {len(real.pixels)} real images" if real is not None else " images")
    logits: list[tuple[Tensor, Tensor]] = []

    def on_batch(expected: Tensor, found: Tensor) -> None:
        logits.append((expected, found))
        if on_progress is not None:
            on_progress(min(1 + _BATCH * (len(logits) - 1), len(everything)), len(everything))

    try:
        exported = open_runtime(path, torch.device("cpu"), trust=True)  # written a moment ago
        # A single image first: a file that took the batch size of its example for a constant fails.
        batches = (everything[:1], *everything[1:].split(_BATCH))
        comparison = compare(reference, exported, batches, on_batch)
    except FastViTError as error:
        return CheckResult(
            None, None, None, None, None, 0, False, f"tried to run it on {words}", (*problems, error.message)
        )
    tolerance = TOLERANCES[precision] * comparison.max_abs_logit
    problems += _numeric_problems(comparison, tolerance)
    method = f"{exported.engine} on {words}"
    if isinstance(exported, CoreMLEvaluator):
        method = (
            f"read back: {exported.num_operations} operations, all weights, emulated on {words} (numbers, not speed)"
        )
    if isinstance(exported, CoreMLEvaluator) and sys.platform == "darwin":
        emulated = torch.cat([found for _, found in logits])
        rounding = min(TOLERANCES[precision], TOLERANCES["fp16"]) * comparison.max_abs_logit
        problems += _problems_on_a_mac(exported, emulated, everything, rounding)
        method += f", and predicted by Core ML on this Mac{_compute_plan(path)}"
    finite = math.isfinite(comparison.max_abs_error)
    return CheckResult(
        max_abs_error=comparison.max_abs_error if finite else None,
        mean_abs_error=comparison.mean_abs_error if finite else None,
        tolerance=tolerance,
        top1_agreement=comparison.top1_agreement if reference.info.num_classes else None,
        accuracy=_accuracy_change(logits, real, reference.info.num_classes),
        num_images=comparison.num_images,
        passed=not problems,
        method=method,
        problems=problems,
    )


def inspect_metadata(path: Path, info: ModelInfo, *_: object) -> tuple[str, ...]:
    """What is wrong with a written file apart from its numbers; empty when nothing is."""
    found = open_runtime(path, torch.device("cpu"), trust=True).info
    return () if found.to_json() == info.to_json() else ("the metadata is not what was written",)


def _accuracy_change(
    logits: list[tuple[Tensor, Tensor]], real: RealImages | None, num_classes: int
) -> AccuracyChange | None:
    if real is None or real.labels is None or not num_classes:
        return None
    expected, found = (torch.cat(batches)[RANDOM_IMAGES:] for batches in zip(*logits, strict=True))
    before, after = accuracy(expected, real.labels), accuracy(found, real.labels)
    return AccuracyChange(before, after, len(real.labels))


def _numeric_problems(comparison: Comparison, tolerance: float, what: str = "logits") -> tuple[str, ...]:
    if math.isnan(comparison.max_abs_error):
        return (f"the exported model gives {what} that are not numbers",)
    if comparison.max_abs_error > tolerance:
        return (f"{what} differ by {comparison.max_abs_error:.2g}, more than the {tolerance:.2g} of rounding",)
    return ()


def _problems_on_a_mac(
    package: CoreMLEvaluator, emulated: Tensor, images: Tensor, tolerance: float
) -> tuple[str, ...]:
    """Core ML's own predictions beside the emulation's, which has the same weights: what is left is rounding."""
    from fastvit_cli.runtimes.coreml_runtime import CoreMLRuntime

    try:
        found = CoreMLRuntime(package).logits(images)
    except FastViTError as error:
        return (error.message,)
    if package.labels is not None:
        # Logits that are off by e move the logarithm of a probability by up to 2 e.
        emulated, found, tolerance = _log_probabilities(emulated), _log_probabilities(found), 2 * tolerance
    return _numeric_problems(compare_logits(emulated, found), tolerance, "Core ML's own predictions")


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1).clamp(min=math.log(_SMALLEST_PROBABILITY))


def _compute_plan(path: Path) -> str:
    """Which units Core ML plans to use, as the end of a sentence."""
    from fastvit_cli.runtimes.coreml_runtime import compute_plan

    shares = compute_plan(path)
    planned = ", ".join(f"{100 * share:.0f} % on the {unit}" for unit, share in shares.items())
    return f" (operations planned: {planned})" if planned else ""
