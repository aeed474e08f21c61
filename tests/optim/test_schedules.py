import math

import pytest
import torch
from helpers import golden
from timm.scheduler import CosineLRScheduler

from fastvit_cli.optim.schedules import CosineSchedule, cosine_weight_decay


@pytest.mark.parametrize(("warmup", "cooldown"), [(5, 0), (5, 20), (0, 20), (0, 58), (30, 40)])
def test_equals_timms_cosine_by_updates(warmup: int, cooldown: int) -> None:
    ours = CosineSchedule(1e-3, 1e-5, start=1e-6, warmup_steps=warmup, total_steps=60, cooldown_steps=cooldown)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=60 - cooldown, lr_min=1e-5, warmup_t=warmup, warmup_lr_init=1e-6, t_in_epochs=False
    )
    for step in range(70):
        theirs.step_update(step)
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), step


def test_ends() -> None:
    schedule = CosineSchedule(peak=1.0, floor=0.1, start=0.0, warmup_steps=0, total_steps=10)
    assert schedule.at(0) == 1.0
    assert schedule.at(5) == pytest.approx(0.55)
    assert schedule.at(10) == schedule.at(1000) == pytest.approx(0.1)
    assert math.isfinite(CosineSchedule(1.0, 0.0, 0.0, 0, 0).at(0))


def test_cooldown_is_spent_at_the_floor() -> None:
    schedule = CosineSchedule(1.0, 0.1, start=0.0, warmup_steps=2, total_steps=10, cooldown_steps=4)
    assert schedule.at(5) > 0.1
    assert [schedule.at(step) for step in (6, 9, 10)] == [0.1] * 3


def test_weight_decay_is_the_references() -> None:
    series = golden.facts()["cosine_weight_decay"]
    schedule = cosine_weight_decay(series["initial"][0], series["eta_min"], series["t_max"])
    expected = [row[0] for row in series["after_each_update"]]
    assert len(expected) == series["t_max"] + 1
    assert [schedule.at(step) for step in range(len(expected))] == pytest.approx(expected, rel=0, abs=1e-15)


def test_weight_decay_may_rise() -> None:
    schedule = cosine_weight_decay(0.04, 0.4, 100)
    assert (schedule.at(0), schedule.at(50), schedule.at(100)) == pytest.approx((0.04, 0.22, 0.4))
