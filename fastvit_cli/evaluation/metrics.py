"""Metrics of a classifier."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.distributed import World


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
    not_finite: int


_LOSS_UNIT = 2.0**-40  # nats
_WORD = 2**31  # the sum of the losses crosses between processes in two parts, each far from int64's end


class ScoreCounter:
    """Adds up batches. All of it is whole numbers, so that any order, and any number of processes, gives the same."""

    def __init__(self) -> None:
        self._top1 = 0
        self._top5 = 0
        self._loss = 0
        self._not_finite = 0
        self.images = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: logits (B, classes), labels (B,)."""
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        answered = logits.isfinite().all(1)  # of NaN topk and argmax name the first
        first = hits(logits, labels)
        self._top1 += int(first.sum())
        self._top5 += int((first | ((best == labels.unsqueeze(1)).any(1) & answered)).sum())
        units = F.cross_entropy(logits.double(), labels, reduction="none") / _LOSS_UNIT
        finite = units < 2.0**62
        self._loss += sum(units[finite].round().long().tolist())
        self._not_finite += int((~finite).sum())
        self.images += labels.shape[0]

    def add_up(self, world: World) -> None:
        """Take in what the other processes counted."""
        mine = torch.tensor(
            [self._top1, self._top5, self._loss // _WORD, self._loss % _WORD, self._not_finite, self.images]
        )
        self._top1, self._top5, high, low, self._not_finite, self.images = world.all_reduce_sum(mine).tolist()
        self._loss = high * _WORD + low

    @property
    def scores(self) -> Scores:
        """So far. Raises ZeroDivisionError before the first batch."""
        return Scores(
            top1=100.0 * self._top1 / self.images,
            top5=100.0 * self._top5 / self.images,
            loss=math.nan if self._not_finite else self._loss * _LOSS_UNIT / self.images,
            num_images=self.images,
            not_finite=self._not_finite,
        )


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Which images (B,) are answered rightly; logits that are not finite answer nothing.

    Of equal logits topk may name any, argmax names the same everywhere.
    """
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 in percent of one batch."""
    return 100.0 * float(hits(logits, labels).to(torch.float64).mean())
