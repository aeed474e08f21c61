from __future__ import annotations

import pytest
import torch

from fastvit_cli.evaluation import class_metrics
from fastvit_cli.evaluation.class_metrics import ClassCounter, ClassScore, Confused, mean_f1

NAMES = ("ant", "bee", "cow", "dog")


def _counted() -> ClassCounter:
    """ant: 2 of 3 right; bee: 1 of 2, one taken for cow; cow: never right; dog: no images."""
    counter = ClassCounter(4)
    predictions, labels = torch.tensor([0, 0, 1, 1, 2, 0]), torch.tensor([0, 0, 0, 1, 1, 2])
    logits = torch.nn.functional.one_hot(predictions, 4).float()
    counter.add(logits[:4], labels[:4])
    counter.add(logits[4:], labels[4:])
    return counter


def test_by_hand() -> None:
    scores = _counted().scores(NAMES)
    assert scores[0] == ClassScore(
        "ant", 3, 3, pytest.approx(200 / 3), pytest.approx(200 / 3), pytest.approx(200 / 3)
    )
    assert scores[1] == ClassScore("bee", 2, 2, 50.0, 50.0, 50.0)
    assert scores[2] == ClassScore("cow", 1, 1, 0.0, 0.0, 0.0)
    assert scores[3] == ClassScore("dog", 0, 0, None, None, None)
    assert mean_f1(scores) == pytest.approx((200 / 3 + 50) / 3)


def test_confusion() -> None:
    counter = _counted()
    assert counter.confusion is not None
    assert counter.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    pairs = counter.most_confused(NAMES)
    assert set(pairs) == {Confused("ant", "bee", 1), Confused("bee", "cow", 1), Confused("cow", "ant", 1)}
    assert counter.confusion[0, 0] == 2, "looking does not change it"


def test_too_many_classes_for_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_metrics, "MAX_CONFUSION_CLASSES", 3)
    counter = _counted()
    assert (counter.confusion, counter.most_confused(NAMES)) == (None, ())
    assert counter.scores(NAMES)[0].images == 3
