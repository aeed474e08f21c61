import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from fastvit_cli.models.factory import create_model
from fastvit_cli.optim.parameter_groups import parameter_groups
from fastvit_cli.optim.schedules import CosineSchedule


def test_equals_timms_cosine_by_updates() -> None:
    ours = CosineSchedule(peak=1e-3, floor=1e-5, start=1e-6, warmup_steps=5, total_steps=60)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=60, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6, t_in_epochs=False
    )
    for step in range(60):
        theirs.step_update(step)
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step


def test_ends() -> None:
    schedule = CosineSchedule(peak=1.0, floor=0.1, start=0.0, warmup_steps=0, total_steps=10)
    assert schedule.at(0) == 1.0
    assert schedule.at(5) == pytest.approx(0.55)
    assert schedule.at(10) == schedule.at(1000) == pytest.approx(0.1)
    assert math.isfinite(CosineSchedule(1.0, 0.0, 0.0, 0, 0).at(0))


def test_decay_goes_to_parameters_of_two_or_more_dimensions() -> None:
    network = create_model("sa12", num_classes=3)
    decayed, plain = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed_names = {names[id(parameter)] for parameter in decayed["params"]}
    plain_names = {names[id(parameter)] for parameter in plain["params"]}
    assert decayed_names | plain_names == set(names.values())
    assert "stages.0.blocks.0.layer_scale.gamma" in decayed_names, "(C, 1, 1), as in the reference"
    assert all(name.endswith((".bias", "bn.weight", "norm.weight", "identity.weight")) for name in plain_names)
