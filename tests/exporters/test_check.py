"""How far Core ML's own predictions, played by a stand-in, may be from the emulation's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvit_cli.exporters.check import _problems_on_a_mac

EMULATED = torch.tensor([[0.0, 5.0], [5.0, 0.0]])


def _problems(monkeypatch: pytest.MonkeyPatch, labels: tuple[str, ...] | None, predicted: Tensor) -> tuple[str, ...]:
    class Played:
        def __init__(self, _package: object) -> None:
            pass

        def logits(self, _images: Tensor) -> Tensor:
            return predicted

    monkeypatch.setattr("fastvit_cli.runtimes.coreml_runtime.CoreMLRuntime", Played)
    package: Any = SimpleNamespace(labels=labels)
    return _problems_on_a_mac(package, EMULATED, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), tolerance=0.1)


@pytest.mark.parametrize(("error", "passes"), [(0.09, True), (0.11, False)])
def test_logits_may_be_off_by_the_tolerance(monkeypatch: pytest.MonkeyPatch, error: float, passes: bool) -> None:
    problems = _problems(monkeypatch, None, EMULATED + torch.tensor([error, -error]))
    assert (problems == ()) == passes


@pytest.mark.parametrize(("error", "passes"), [(0.09, True), (0.11, False)])
def test_log_probabilities_by_twice_as_much(monkeypatch: pytest.MonkeyPatch, error: float, passes: bool) -> None:
    """Of two logits, one of them e higher and the other e lower, the smaller probability moves by 2 e."""
    predicted = (EMULATED + torch.tensor([error, -error])).log_softmax(-1)
    problems = _problems(monkeypatch, ("ant", "bee"), predicted)
    assert (problems == ()) == passes
    if not passes:
        assert problems[0].startswith("Core ML's own predictions differ by 0.22, more than the 0.2 of")
