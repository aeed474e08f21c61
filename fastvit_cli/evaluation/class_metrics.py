"""What a classifier does class by class: recall, precision, F1, and which classes it takes for which."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.distributed import World

MAX_CONFUSION_CLASSES = 2000  # 32 MB of counts; above it, only the sums by class are kept
_SHOWN_CONFUSIONS = 20


@dataclass(frozen=True)
class ClassScore:
    """One class; shares in percent.

    Attributes:
        images: of this class.
        predicted: images that were taken for this class.
        recall: of the images of this class, how many were recognised: the accuracy within the class. None without
            images.
        precision: of the images taken for this class, how many were of it. None when nothing was.
        f1: harmonic mean of the two; None where there are no images, 0 where none was recognised.
    """

    name: str
    images: int
    predicted: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Confused:
    """So many images of `label` were taken for `prediction`."""

    label: str
    prediction: str
    images: int


class ClassCounter:
    """Counts of labels and predictions, in memory that does not grow with the images.

    Args:
        num_classes: of the model.

    Attributes:
        confusion: int64 (classes, classes), label by prediction; None above `MAX_CONFUSION_CLASSES`.
    """

    def __init__(self, num_classes: int) -> None:
        self._labels = torch.zeros(num_classes, dtype=torch.int64)
        self._predictions = torch.zeros(num_classes, dtype=torch.int64)
        self._hits = torch.zeros(num_classes, dtype=torch.int64)
        few = num_classes <= MAX_CONFUSION_CLASSES
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64) if few else None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count one batch: logits (B, classes), labels (B,)."""
        predictions = logits.argmax(1)
        classes = len(self._labels)
        self._labels += torch.bincount(labels, minlength=classes)
        self._predictions += torch.bincount(predictions, minlength=classes)
        self._hits += torch.bincount(labels[predictions == labels], minlength=classes)
        if self.confusion is not None:
            ones = torch.ones_like(labels)
            self.confusion.index_put_((labels, predictions), ones, accumulate=True)

    def add_up(self, world: World) -> None:
        """Take in what the other processes counted."""
        for counts in (self._labels, self._predictions, self._hits, self.confusion):
            if counts is not None:
                world.all_reduce_sum(counts)

    def scores(self, names: tuple[str, ...]) -> tuple[ClassScore, ...]:
        """One row a class, in the order of the model's."""
        counts = zip(self._labels.tolist(), self._predictions.tolist(), self._hits.tolist(), strict=True)
        return tuple(_class_score(name, *count) for name, count in zip(names, counts, strict=True))

    def most_confused(self, names: tuple[str, ...]) -> tuple[Confused, ...]:
        """The pairs of classes with the most mistakes, at most twenty."""
        if self.confusion is None:
            return ()
        mistakes = self.confusion.clone().fill_diagonal_(0).flatten()
        counts, pairs = mistakes.topk(min(_SHOWN_CONFUSIONS, len(mistakes)))
        return tuple(
            Confused(names[pair // len(names)], names[pair % len(names)], count)
            for count, pair in zip(counts.tolist(), pairs.tolist(), strict=True)
            if count
        )


def mean_f1(classes: tuple[ClassScore, ...]) -> float:
    """Macro F1 in percent: the mean over the classes that have images."""
    known = [row.f1 for row in classes if row.f1 is not None]
    return sum(known) / len(known)


def _class_score(name: str, images: int, predicted: int, hits: int) -> ClassScore:
    return ClassScore(
        name=name,
        images=images,
        predicted=predicted,
        recall=100.0 * hits / images if images else None,
        precision=100.0 * hits / predicted if predicted else None,
        f1=200.0 * hits / (images + predicted) if images else None,
    )
