"""The training loss, what a teacher adds to it, and weights for classes of unequal size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class TrainingLoss:
    """Logits (B, C) and targets to one loss, a float32 scalar; cross-entropy unless `bce`.

    Targets are labels (B,) int64, or soft ones (B, C) that were smoothed when they were mixed.

    Cross-entropy, w being 1 without `class_weights`, p the softmax, y the labels, t the soft targets:

    - soft: sum_bc(w_c t_bc (-log p_bc)) / B
    - labels: the same with the smoothed one-hot labels in the place of t

    torch's own weighted mean divides by the weights in the batch. In a small batch they cancel, all of them in one of
    a single class, and the mean of two halves of a batch is not that of the whole.

    Args:
        label_smoothing: share of a label that is spread over all C classes; soft targets are left alone.
        bce: one yes or no a class (timm's `BinaryCrossEntropy`), a mean over images and classes.
        bce_threshold: targets above it count as 1, others as 0, after smoothing; None takes them as they are.
        class_weights: (C,) on the logits' device, 1 on average over the images. With `bce` they multiply the columns.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        bce: bool = False,
        bce_threshold: float | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        from timm.loss import BinaryCrossEntropy

        self._smoothing = label_smoothing
        self._weights = None if class_weights is None else class_weights.float()
        self._bce = BinaryCrossEntropy(label_smoothing, bce_threshold, weight=self._weights) if bce else None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = logits.float()
        soft = targets.ndim == 2
        if soft:
            targets = targets.float()
        if self._bce is not None:
            loss: Tensor = self._bce(logits, targets)
            return loss
        smoothing = 0.0 if soft else self._smoothing
        if self._weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        weighted = F.cross_entropy(logits, targets, self._weights, reduction="sum", label_smoothing=smoothing)
        return weighted / len(logits)


class DistillationLoss:
    """What the student learns from a teacher, mixed into the loss of the labels: (1 - alpha) base + alpha teacher.

    - hard: cross-entropy with the class that the teacher names, without smoothing
    - soft: KL(teacher || student) of both softmaxes at temperature tau, times tau^2, a mean over images and classes

    Source: DeiT (arXiv 2012.12877, section 4), as the reference program applies it to FastViT's one head.

    Args:
        kind: hard or soft.
        alpha: share of the teacher, 0 to 1.
        tau: temperature of `soft`.
    """

    def __init__(self, kind: str, alpha: float, tau: float) -> None:
        assert kind in ("hard", "soft")
        self._kind = kind
        self._alpha = alpha
        self._tau = tau

    def __call__(self, base: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
        """Mix `base`, a scalar, with what logits (B, C) of student and teacher come to; a float32 scalar."""
        student, teacher = student.float(), teacher.float()
        if self._kind == "hard":
            learned = F.cross_entropy(student, teacher.argmax(1))
        else:
            divergence = F.kl_div(
                F.log_softmax(student / self._tau, 1),
                F.log_softmax(teacher / self._tau, 1),
                reduction="sum",
                log_target=True,
            )
            learned = divergence * self._tau**2 / student.numel()
        return base * (1 - self._alpha) + learned * self._alpha


def balanced_class_weights(labels: Sequence[int] | Tensor, num_classes: int, power: float = 1.0) -> Tensor:
    """Weights that make every class count for the same, whatever its number of images.

    n / (k * count_c), with n images and k classes that have any: the mean over images is 1. Classes without images
    get 0, as they have no target to weigh (timm's `compute_class_weights` would give them the largest weight).

    Args:
        labels: (n,) class of each image, 0 to num_classes - 1; at least one.
        power: of these weights; below 1 the large classes keep some of their lead.

    Returns:
        (num_classes,) float32, on the labels' device.

    Raises:
        ValueError: no labels, or one outside the classes.
    """
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"Expected labels from 0 to {num_classes - 1}.")
    counts = torch.bincount(labels, minlength=num_classes).double()
    weights = len(labels) / (counts.count_nonzero() * counts.clamp(min=1.0))
    weights = weights.where(counts > 0, 0.0) ** power
    return (weights * len(labels) / (weights * counts).sum()).float()
