"""Fixtures of what runs whole benchmarks."""

import gc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.bench_runs import Simulate

from fastvit_cli.bench import run, timer
from fastvit_cli.bench.timer import Samples, WarmUp
from fastvit_cli.models.cost import Cost
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.variants import get_variant

MS = 1_000_000


def stub_cost(network: torch.nn.Module, img_size: int) -> Cost:
    return Cost(sum(parameter.numel() for parameter in network.parameters()), img_size, 1)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short warm-ups, no measured peak and no counting: nothing here looks at how long anything took."""
    monkeypatch.setattr(timer, "_WINDOW_NS", 0)
    monkeypatch.setattr(timer, "_WINDOW_STEPS", 1)
    monkeypatch.setattr(run, "matmul_peak", lambda _device, _dtype: 1e12)
    monkeypatch.setattr(run, "network_cost", stub_cost)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # with pytest's objects longer than all the rest


@pytest.fixture(scope="module")
def network() -> FastViT:
    """All kinds of blocks of a t8, as small as they come: a step takes a few milliseconds."""
    return FastViT(replace(get_variant("t8"), depths=(1, 1, 1, 1), widths=(8, 16, 32, 64)), num_classes=5)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Replace the timer by one that takes a single step and reports the given durations of each subject."""

    def replace_timer(rounds_ms: Mapping[int, list[int]]) -> None:
        def warm_up(timed: timer.Timed, _limits: object) -> WarmUp:
            for part in timed.parts:
                part()
            timed.synchronize()
            return WarmUp(1, MS, MS, MS)

        def interleave(subjects: Mapping[int, Any], *_: object, **__: object) -> dict[int, Samples]:
            return {key: Samples(((tuple((ms * MS,) for ms in rounds_ms[key])),)) for key in subjects}

        monkeypatch.setattr(timer, "warm_up", warm_up)
        monkeypatch.setattr(timer, "interleave", interleave)

    return replace_timer
