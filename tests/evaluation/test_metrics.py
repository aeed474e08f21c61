import pytest
import torch
from torch.nn import functional as F

from fastvit_cli.evaluation.metrics import ScoreCounter


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


def test_top5_is_capped_by_the_classes() -> None:
    counter = ScoreCounter()
    counter.add(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert counter.scores.top5 == 100.0
