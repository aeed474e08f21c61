"""The comparison of two runtimes, on numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from helpers.loaded import loaded_model
from torch import Tensor

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.compare import compare


class Played:
    """Gives what it was told, batch after batch."""

    engine = "played"

    def __init__(self, *batches: list[list[float]]) -> None:
        self.info = loaded_model("t8").info
        self._batches: Iterator[Tensor] = iter([torch.tensor(batch) for batch in batches])

    def logits(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, 8, 8)
        return next(self._batches)


def _images(*counts: int) -> list[Tensor]:
    return [torch.zeros(count, 3, 8, 8, dtype=torch.uint8) for count in counts]


def test_errors_and_agreement() -> None:
    reference = Played([[1.0, 2.0], [3.0, 0.0]], [[0.0, -4.0]])
    other = Played([[1.5, 2.0], [3.0, 3.25]], [[0.0, -4.0]])
    result = compare(reference, other, _images(2, 1))
    assert result.num_images == 3
    assert result.max_abs_error == 3.25
    assert result.mean_abs_error == pytest.approx((0.5 + 3.25) / 6)
    assert result.max_abs_logit == 4.0
    assert result.top1_agreement == pytest.approx(2 / 3)


def test_nan_is_not_hidden_by_larger_batches() -> None:
    result = compare(Played([[1.0, 2.0]], [[1.0, 2.0]]), Played([[math.nan, 2.0]], [[1.0, 2.0]]), _images(1, 1))
    assert math.isnan(result.max_abs_error)


def test_models_of_different_classes() -> None:
    with pytest.raises(FastViTError, match="2 values per image, played 3"):
        compare(Played([[1.0, 2.0]]), Played([[1.0, 2.0, 3.0]]), _images(1))


def test_no_images() -> None:
    with pytest.raises(FastViTError, match="no images"):
        compare(Played(), Played(), [])
