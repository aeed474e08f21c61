import pickle

import pytest
import torch
from helpers.golden import arrays, facts
from timm.data.mixup import mixup_target
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.optim.losses import DistillationLoss, TrainingLoss, balanced_class_weights

pytestmark = pytest.mark.quick

B, C = 8, 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 4, 4, 1])
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0])


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(B, C, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def soft() -> Tensor:
    return mixup_target(LABELS, C, lam=0.3, smoothing=0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_labels(logits: Tensor, smoothing: float) -> None:
    loss = TrainingLoss(label_smoothing=smoothing)(logits, LABELS)
    torch.testing.assert_close(loss, LabelSmoothingCrossEntropy(smoothing)(logits, LABELS))
    weighted = TrainingLoss(label_smoothing=smoothing, class_weights=WEIGHTS)(logits, LABELS)
    each = F.cross_entropy(logits, LABELS, WEIGHTS, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(weighted, each.mean())
    assert not torch.isclose(weighted, loss)


def test_cross_entropy_of_soft_targets_is_not_smoothed_again(logits: Tensor, soft: Tensor) -> None:
    loss = TrainingLoss(label_smoothing=0.1)(logits, soft)
    torch.testing.assert_close(loss, SoftTargetCrossEntropy()(logits, soft))
    torch.testing.assert_close(TrainingLoss(class_weights=torch.ones(C))(logits, soft), loss)


def test_weighted_soft_targets_are_a_mean_over_images(logits: Tensor, soft: Tensor) -> None:
    loss = TrainingLoss(class_weights=WEIGHTS)
    expected = (WEIGHTS * soft * -logits.log_softmax(1)).sum() / B
    torch.testing.assert_close(loss(logits, soft), expected)
    torch.testing.assert_close(loss(logits, F.one_hot(LABELS, C).float()), loss(logits, LABELS))


@pytest.mark.parametrize("bce", [False, True])
def test_weights_count_the_same_in_batches_of_any_size(logits: Tensor, soft: Tensor, bce: bool) -> None:
    loss = TrainingLoss(bce=bce, class_weights=balanced_class_weights(LABELS, C))
    for targets in (LABELS, soft):
        for size in (1, 2, 4):
            parts = [loss(*part) for part in zip(logits.split(size), targets.split(size), strict=True)]
            torch.testing.assert_close(torch.stack(parts).mean(), loss(logits, targets))
    if not bce:  # where each image's own loss is the same, so is each class's part
        first = [loss(torch.zeros(1, C), LABELS[[place]]) for place in range(B)]
        of_class = [sum(part for part, label in zip(first, LABELS, strict=True) if label == c) for c in range(C)]
        torch.testing.assert_close(torch.stack(of_class), of_class[0].expand(C))  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_bce_is_timms(logits: Tensor, soft: Tensor, threshold: float | None) -> None:
    loss = TrainingLoss(label_smoothing=0.1, bce=True, bce_threshold=threshold)
    peer = BinaryCrossEntropy(smoothing=0.1, target_threshold=threshold)
    for targets in (LABELS, soft):
        assert torch.equal(loss(logits, targets), peer(logits, targets))
    ones = soft if threshold is None else (soft > threshold).float()
    expected = F.binary_cross_entropy_with_logits(logits, ones)
    torch.testing.assert_close(loss(logits, soft), expected)


def test_bce_multiplies_columns_by_the_weights(logits: Tensor, soft: Tensor) -> None:
    loss = TrainingLoss(bce=True, class_weights=WEIGHTS)(logits, soft)
    each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    torch.testing.assert_close(loss, (each * WEIGHTS).mean())


@pytest.mark.parametrize("bce", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS, WEIGHTS.double()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_is_computed_in_float32(
    logits: Tensor, soft: Tensor, bce: bool, weights: Tensor | None, dtype: torch.dtype
) -> None:
    loss = TrainingLoss(bce=bce, class_weights=weights)
    rounded = logits.to(dtype)
    for targets in (LABELS, soft):
        expected = loss(rounded.float(), targets)
        assert expected.dtype == torch.float32
        assert torch.equal(loss(rounded, targets), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(rounded, targets), expected)
    assert torch.equal(loss(rounded, soft.double()), loss(rounded, soft))


@pytest.mark.parametrize("bce", [False, True])
def test_survives_pickling(logits: Tensor, bce: bool) -> None:
    loss = TrainingLoss(label_smoothing=0.1, bce=bce, class_weights=WEIGHTS)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(logits, LABELS), loss(logits, LABELS))


def test_gradients_reach_the_logits(logits: Tensor, soft: Tensor) -> None:
    for bce in (False, True):
        leaf = logits.clone().requires_grad_()
        TrainingLoss(bce=bce, class_weights=WEIGHTS)(leaf, soft).backward()
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0


def test_balanced_weights() -> None:
    weights = balanced_class_weights(LABELS, C)
    counts = [1, 2, 1, 1, 3]
    torch.testing.assert_close(weights, torch.tensor([B / (C * count) for count in counts]))
    assert weights[LABELS].mean().item() == pytest.approx(1.0)
    assert torch.equal(balanced_class_weights(LABELS.tolist(), C), weights)


def test_classes_without_images_weigh_nothing() -> None:
    labels = torch.tensor([1, 1, 1, 3])
    weights = balanced_class_weights(labels, C)
    torch.testing.assert_close(weights, torch.tensor([0.0, 4 / (2 * 3), 0.0, 4 / 2, 0.0]))
    assert weights[labels].mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize("labels", [[], [0, 5], [-1, 0]])
def test_labels_outside_the_classes_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels from 0 to 4"):
        balanced_class_weights(labels, C)


@pytest.mark.parametrize("setting", [name for name in facts()["distillation_loss"] if not name.startswith("none")])
def test_distillation_as_the_reference_computes_it(setting: str) -> None:
    kind, alpha, tau = (part.rpartition("=")[2] for part in setting.split("/"))
    student, teacher, labels = (
        torch.from_numpy(arrays()[f"kd.{name}"]) for name in ("student_logits", "teacher_logits", "labels")
    )
    base = F.cross_entropy(student, labels)
    assert float(base) == pytest.approx(facts()["distillation_loss"]["none/alpha=0.5/tau=1.0"], rel=1e-6)
    loss = DistillationLoss(kind, float(alpha), float(tau))(base, student, teacher)
    assert float(loss) == pytest.approx(facts()["distillation_loss"][setting], rel=1e-6)


def test_a_hard_teacher_is_not_smoothed_and_its_gradient_stays_out(logits: Tensor) -> None:
    teacher = torch.randn(B, C, generator=torch.Generator().manual_seed(1), requires_grad=True)
    student = logits.clone().requires_grad_()
    loss = DistillationLoss("hard", 1.0, 1.0)(torch.tensor(9.0), student, teacher)
    torch.testing.assert_close(loss, F.cross_entropy(logits, teacher.argmax(1)))
    loss.backward()
    assert teacher.grad is None
