from __future__ import annotations

import pytest
import torch

from fastvit_cli.evaluation.calibration import BINS, CalibrationCounter, expected_calibration_error, wilson_interval


def test_error_by_hand() -> None:
    """Two images at 90 % of which one is right, two at 62 % that are both right."""
    counter = CalibrationCounter()
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.62, 0.38], [0.38, 0.62]], dtype=torch.float64)
    counter.add(probabilities[:3].log(), torch.tensor([0, 1, 0]))
    counter.add(probabilities[3:].log(), torch.tensor([1]))
    bins = counter.bins
    assert (len(bins), sum(row.images for row in bins)) == (BINS, 4)
    filled = [row for row in bins if row.images]
    assert [row.images for row in filled] == [2, 2]
    assert [(row.low, row.high) for row in filled] == [(9 / 15, 10 / 15), (13 / 15, 14 / 15)]
    assert [row.confidence for row in filled] == pytest.approx([0.62, 0.9])
    assert [row.accuracy for row in filled] == [1.0, 0.5]
    assert expected_calibration_error(bins) == pytest.approx(100 * (0.5 * 0.38 + 0.5 * 0.4))


def test_certain_predictions_have_a_bin() -> None:
    counter = CalibrationCounter()
    counter.add(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert counter.bins[-1].images == 1
    assert expected_calibration_error(counter.bins) == pytest.approx(0.0)


def test_nan_is_left_to_the_loss() -> None:
    counter = CalibrationCounter()
    counter.add(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))
    assert expected_calibration_error(counter.bins) == 0.0


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [(8, 10, 49.02, 94.33), (0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (700, 1000, 67.09, 72.76)],
)
def test_wilson_interval(hits: int, images: int, low: float, high: float) -> None:
    """Values of R's binom.confint(method = "wilson")."""
    assert wilson_interval(hits, images) == pytest.approx((low, high), abs=0.01)
