from __future__ import annotations

import pytest
import torch
from helpers.evaluation_models import Colours

from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation import comparison
from fastvit_cli.evaluation.comparison import PairCounter, mcnemar


class Told(Colours):
    """Gives what it was told."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.told = torch.tensor(logits)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        assert len(images) == len(self.told)
        return self.told


FIRST = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 2.5], [1.0, 0.0, 0.9], [0.0, 0.0, 1.0]])
OTHER = [[2.0, 1.5, 0.0], [0.0, 3.0, 3.5], [0.5, 0.0, 0.9], [0.0, 0.0, 1.0]]
LABELS = torch.tensor([0, 2, 0, 2])


def _pair() -> PairCounter:
    pair = PairCounter(Colours(), Told(OTHER), ("ant", "bee", "cow"))
    pair.add(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), FIRST, LABELS, lambda place: f"{place}.jpg")
    return pair


def test_by_hand() -> None:
    found = _pair().result("other.onnx")
    assert (found.other, found.other_engine) == ("other.onnx", "colours")
    assert (found.other_top1, found.top1_difference) == (75.0, 0.0)
    assert (found.only_first_right, found.only_other_right, found.p_value) == (1, 1, 1.0)
    assert found.logits.top1_agreement == 0.5
    assert found.logits.max_abs_error == 1.0
    assert found.num_flips == 2
    first, second = found.flips
    assert (first.image, first.label, first.prediction, first.other_prediction) == ("1.jpg", "cow", "bee", "cow")
    assert (first.margin, first.other_margin) == (0.5, 0.5)
    assert second.image == "2.jpg"
    assert (second.margin, second.other_margin) == (pytest.approx(0.1), pytest.approx(0.4))


def test_only_so_many_flips_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MAX_FLIPS", 1)
    found = _pair().result("other")
    assert (found.num_flips, [flip.image for flip in found.flips]) == (2, ["1.jpg"])


def test_a_flip_counts_by_the_margin_of_the_surer_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both models were in doubt, rounding may have decided; where one was sure, it did not."""
    first = torch.tensor([[3.0, 0.0], [0.5, 0.0]])
    pair = PairCounter(Colours(), Told([[0.0, 0.1], [0.0, 0.5]]), ("ant", "bee"))
    monkeypatch.setattr(comparison, "MAX_FLIPS", 1)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    pair.add(images, first, torch.tensor([0, 0]), ("sure.jpg", "doubt.jpg").__getitem__)
    assert [flip.image for flip in pair.result("other").flips] == ["sure.jpg"]


def test_models_of_other_classes() -> None:
    pair = PairCounter(Colours(), Told([[1.0, 2.0]]), ("ant", "bee", "cow"))
    with pytest.raises(FastViTError, match="3 values per image, colours 2"):
        pair.add(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), FIRST[:1], LABELS[:1], str)


@pytest.mark.parametrize(
    ("only_first", "only_other", "expected"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 0.021484375), (9, 1, 0.021484375), (0, 6, 0.03125), (40, 60, 0.0568879)],
)
def test_mcnemar(only_first: int, only_other: int, expected: float) -> None:
    """Values of a two-sided binomial test with a share of one half."""
    assert mcnemar(only_first, only_other) == pytest.approx(expected, rel=1e-5)
