"""Whether a classifier is as sure as it should be, and how sure its accuracy is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.distributed import World

BINS = 15
_CONFIDENCE_UNIT = 2.0**-32  # whole numbers of it add up to the same in any order
_NORMAL_QUANTILE_975 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence lies in (low, high]; the shares are 0 to 1, None without images.

    Attributes:
        confidence: mean probability of the predicted class.
        accuracy: share of right predictions.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


class CalibrationCounter:
    """Adds up batches by the probability that the model gives to its prediction."""

    def __init__(self) -> None:
        self._images = torch.zeros(BINS, dtype=torch.int64)
        self._hits = torch.zeros(BINS, dtype=torch.int64)
        self._confidence = torch.zeros(BINS, dtype=torch.int64)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: logits (B, classes), labels (B,)."""
        confidence, predictions = logits.double().softmax(1).max(1)
        if not torch.isfinite(confidence).all():  # NaN belongs into no bin; the loss shows it
            return
        bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        self._images += torch.bincount(bins, minlength=BINS)
        self._hits += torch.bincount(bins[predictions == labels], minlength=BINS)
        self._confidence.index_add_(0, bins, (confidence / _CONFIDENCE_UNIT).round().long())

    def add_up(self, world: World) -> None:
        """Take in what the other processes counted."""
        for counts in (self._images, self._hits, self._confidence):
            world.all_reduce_sum(counts)

    @property
    def bins(self) -> tuple[ReliabilityBin, ...]:
        """From unsure to sure."""
        rows = zip(self._images.tolist(), self._hits.tolist(), self._confidence.tolist(), strict=True)
        return tuple(
            ReliabilityBin(
                low=position / BINS,
                high=(position + 1) / BINS,
                images=images,
                confidence=confidence * _CONFIDENCE_UNIT / images if images else None,
                accuracy=hits / images if images else None,
            )
            for position, (images, hits, confidence) in enumerate(rows)
        )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Mean gap of confidence and accuracy in percent, each bin weighted by its images."""
    gaps = [
        row.images * abs(row.confidence - row.accuracy)
        for row in bins
        if row.confidence is not None and row.accuracy is not None
    ]
    return 100.0 * sum(gaps) / max(1, sum(row.images for row in bins))


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """95 % interval of a share, in percent (Wilson, 1927)."""
    z2 = _NORMAL_QUANTILE_975**2
    share = hits / images
    centre = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = _NORMAL_QUANTILE_975 / (1 + z2 / images)
    half *= math.sqrt(share * (1 - share) / images + z2 / (4 * images * images))
    return 100.0 * max(0.0, centre - half), 100.0 * min(1.0, centre + half)
