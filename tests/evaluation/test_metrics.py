import math

import pytest
import torch
from torch.nn import functional as F

from fastvit_cli.evaluation.class_metrics import ClassCounter
from fastvit_cli.evaluation.metrics import ScoreCounter, accuracy


def test_counts_equal_a_direct_computation() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 20, generator=generator)
    labels = torch.randint(0, 20, (50,), generator=generator)
    counter = ScoreCounter()
    for part in (slice(0, 7), slice(7, 49), slice(49, 50)):
        counter.add(logits[part], labels[part])
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    scores = counter.scores
    assert scores.num_images == 50
    assert scores.top1 == pytest.approx(100 * float((ranks == 0).double().mean()))
    assert scores.top5 == pytest.approx(100 * float((ranks < 5).double().mean()))
    assert scores.loss == pytest.approx(float(F.cross_entropy(logits.double(), labels)), rel=1e-12)


def test_of_equal_logits_every_count_takes_the_same() -> None:
    """Formats of few bits give equal logits; the confusion matrix must still add up to the top-1 beside it."""
    logits = torch.randint(0, 3, (400, 7), generator=torch.Generator().manual_seed(0)).half()
    labels = torch.arange(400) % 7
    counter, classes = ScoreCounter(), ClassCounter(7)
    counter.add(logits, labels)
    classes.add(logits, labels)
    assert classes.confusion is not None
    assert counter.scores.top1 == pytest.approx(100 * int(classes.confusion.trace()) / 400)
    assert counter.scores.top1 == pytest.approx(accuracy(logits, labels))
    assert counter.scores.top5 >= counter.scores.top1


def test_logits_that_are_no_numbers_are_wrong() -> None:
    logits = torch.tensor([[torch.nan, torch.nan], [0.0, torch.inf], [torch.nan, 0.0], [1.0, 0.0]])
    counter = ScoreCounter()
    counter.add(logits, torch.tensor([0, 1, 0, 0]))
    assert (counter.scores.top1, counter.scores.top5) == (25.0, 25.0)


@pytest.mark.parametrize("logits", [[torch.nan, 0.0], [0.0, torch.inf]])
def test_one_such_image_of_many_is_seen_in_the_loss(logits: list[float]) -> None:
    counter = ScoreCounter()
    counter.add(torch.eye(2).repeat(4, 1), torch.tensor([0, 1]).repeat(4))
    assert math.isfinite(counter.scores.loss)
    counter.add(torch.tensor([logits]), torch.tensor([0]))
    assert math.isnan(counter.scores.loss)


def test_top5_is_capped_by_the_classes() -> None:
    counter = ScoreCounter()
    counter.add(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert counter.scores.top5 == 100.0
