"""What a run says of itself is said where it is true, and nowhere else."""

from dataclasses import replace

import pytest

from fastvit_cli.training.events import EpochDone
from fastvit_cli.training.remarks import RunFacts, remarks

FACTS = RunFacts(classes=10, val_images=5000, steps_per_epoch=50, stopped=False)
ROW = EpochDone(1, 20, 1e-3, 1.0, 50.0, 1.0, 50.0, 90.0, 100.0, 1.0, 0.0, None, 0, False)


def _history(losses: list[float], top1s: list[float], train: list[float] | None = None) -> list[EpochDone]:
    rows: list[EpochDone] = []
    for epoch, (loss, top1) in enumerate(zip(losses, top1s, strict=True), start=1):
        train_loss = loss if train is None else train[epoch - 1]
        is_best = top1 > max((row.val_top1 for row in rows), default=-1.0)
        rows.append(replace(ROW, epoch=epoch, val_loss=loss, val_top1=top1, train_loss=train_loss, is_best=is_best))
    return rows


RISING = _history([2.0 - 0.1 * n for n in range(10)], [20.0 + 5 * n for n in range(10)])
SETTLED = _history([1.0, 0.6, 0.5, *[0.5] * 7], [50.0, 70.0, 80.0, *[79.0] * 7])


def test_a_good_run_is_left_alone() -> None:
    assert remarks(SETTLED, FACTS) == ()
    assert remarks([], FACTS) == ()


@pytest.mark.parametrize(
    ("history", "facts", "words"),
    [
        (_history([2.3] * 10, [10.4] * 10), FACTS, "no better than chance (10.00 % of 10 classes)"),
        (SETTLED, replace(FACTS, steps_per_epoch=7), "changed 70 times only"),
        (RISING, FACTS, "--epochs 20 would likely reach more"),
        (
            _history([0.5, 0.4, *[0.8] * 8], [80.0, 81.0, *[78.0] * 8], [1.0, 0.6, *[0.1] * 8]),
            FACTS,
            "After epoch 2 the network learned the training images by heart",
        ),
        (SETTLED, replace(FACTS, val_images=50), "50 validation images tell top-1 to within 67 to 89 %"),
    ],
)
def test_what_is_plain_is_said(history: list[EpochDone], facts: RunFacts, words: str) -> None:
    (said,) = remarks(history, facts)
    assert words in said


def test_a_run_that_was_stopped_is_not_told_to_train_on() -> None:
    assert remarks(RISING, replace(FACTS, stopped=True)) == ()
    assert remarks(RISING[:1], replace(FACTS, stopped=True)) == ()
