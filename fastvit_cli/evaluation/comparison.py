"""`--compare`: two models on the same labelled images, and whether one is really better."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.evaluation.evaluate import SplitWhenOutOfMemory
from fastvit_cli.evaluation.metrics import hits
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.compare import Comparison, ComparisonCounter, check_same_outputs

MAX_FLIPS = 1000  # of the images whose prediction changed, those with the largest margins are kept


@dataclass(frozen=True)
class Flip:
    """An image that the two models name differently.

    Attributes:
        image: its name.
        margin: how far the first model's logit of its prediction is above its next best one.
        other_margin: the same of the other model. Both tiny: a tie that rounding decided.
    """

    image: str
    label: str
    prediction: str
    other_prediction: str
    margin: float
    other_margin: float


@dataclass(frozen=True)
class ComparedModels:
    """The first model against another one; scores in percent.

    Attributes:
        other_top1: of the other model; `top1_difference` is it minus the first's.
        only_first_right, only_other_right: images that just one of the two got right.
        p_value: McNemar's exact test, two-sided: how likely so uneven a split is between equally good models.
        num_flips: images that the two name differently; `flips` are those with the largest margins.
    """

    other: str
    other_engine: str
    other_top1: float
    top1_difference: float
    only_first_right: int
    only_other_right: int
    p_value: float
    logits: Comparison
    num_flips: int
    flips: tuple[Flip, ...]


class PairCounter:
    """Adds up batches, in memory that does not grow with the images."""

    def __init__(self, first: Runtime, other: Runtime, class_names: tuple[str, ...]) -> None:
        self._first = first
        self._other = other
        self._forward = SplitWhenOutOfMemory(other)
        self._names = class_names
        self._logits = ComparisonCounter()
        self._hits = self._other_hits = 0
        self._only_first = self._only_other = self._num_flips = 0
        self._flips: list[tuple[float, int, Flip]] = []

    def add(self, images: Tensor, logits: Tensor, labels: Tensor, name_of: Callable[[int], str]) -> None:
        """Run the other model on a batch, (B, 3, H, W), of which the first gave the logits (B, classes).

        Args:
            name_of: the name of the image at a position of the batch.

        Raises:
            FastViTError: the models have a different number of classes.
        """
        found = self._forward(images)
        check_same_outputs(self._first, logits, self._other, found)
        self._logits.add(logits, found)
        first, other = logits.argmax(1), found.argmax(1)
        right, other_right = hits(logits, labels), hits(found, labels)
        self._hits += int(right.sum())
        self._other_hits += int(other_right.sum())
        self._only_first += int((right & ~other_right).sum())
        self._only_other += int((other_right & ~right).sum())
        margins, other_margins = _margins(logits), _margins(found)
        for position in (first != other).nonzero().flatten().tolist():
            self._keep(
                Flip(
                    image=name_of(position),
                    label=self._names[int(labels[position])],
                    prediction=self._names[int(first[position])],
                    other_prediction=self._names[int(other[position])],
                    margin=float(margins[position]),
                    other_margin=float(other_margins[position]),
                )
            )

    def _keep(self, flip: Flip) -> None:
        self._num_flips += 1
        entry = (max(flip.margin, flip.other_margin), -self._num_flips, flip)
        if len(self._flips) < MAX_FLIPS:
            heapq.heappush(self._flips, entry)
        else:
            heapq.heappushpop(self._flips, entry)

    def result(self, other_name: str) -> ComparedModels:
        """So far; raises FastViTError before the first image."""
        comparison = self._logits.comparison
        percent = 100.0 / comparison.num_images
        return ComparedModels(
            other=other_name,
            other_engine=self._other.engine,
            other_top1=percent * self._other_hits,
            top1_difference=percent * (self._other_hits - self._hits),
            only_first_right=self._only_first,
            only_other_right=self._only_other,
            p_value=mcnemar(self._only_first, self._only_other),
            logits=comparison,
            num_flips=self._num_flips,
            flips=tuple(flip for _, _, flip in sorted(self._flips, reverse=True)),
        )


def _margins(logits: Tensor) -> Tensor:
    """Best minus second best logit, (B,)."""
    best = logits.topk(min(2, logits.shape[1]), dim=1).values
    return best[:, 0] - best[:, -1]


def mcnemar(only_first: int, only_other: int) -> float:
    """Two-sided exact p-value of the images that only one of two models got right.

    >>> mcnemar(1, 9)
    0.021484375
    """
    total, fewer = only_first + only_other, min(only_first, only_other)
    if only_first == only_other:
        return 1.0
    terms = torch.arange(fewer + 1, dtype=torch.float64)
    log_choose = math.lgamma(total + 1) - torch.lgamma(terms + 1) - torch.lgamma(total - terms + 1)
    return min(1.0, 2.0 * float((log_choose - total * math.log(2.0)).exp().sum()))
