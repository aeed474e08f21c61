"""Metrics of a classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scores:
    """Over all images seen.

    Attributes:
        top1, top5: percent; k is capped by the number of classes.
        loss: mean cross-entropy in nats.
    """

    top1: float
    top5: float
    loss: float
    num_images: int


class ScoreCounter:
    """Adds up batches; counts are exact, the loss is summed in float64."""

    def __init__(self) -> None:
        self._top1 = 0
        self._top5 = 0
        self._loss = 0.0
        self._images = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: logits (B, classes), labels (B,)."""
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = best == labels.unsqueeze(1)
        self._top1 += int(hits[:, 0].sum())
        self._top5 += int(hits.sum())
        self._loss += float(F.cross_entropy(logits.double(), labels, reduction="sum"))
        self._images += labels.shape[0]

    @property
    def scores(self) -> Scores:
        """So far. Raises ZeroDivisionError before the first batch."""
        return Scores(
            top1=100.0 * self._top1 / self._images,
            top5=100.0 * self._top5 / self._images,
            loss=self._loss / self._images,
            num_images=self._images,
        )


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 in percent of one batch."""
    return 100.0 * float((logits.argmax(1) == labels).to(torch.float64).mean())
