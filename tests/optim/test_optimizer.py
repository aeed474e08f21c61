import copy

import pytest
import torch
from torch import nn

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.optim.optimizer import build_optimizer, set_rates
from fastvit_cli.optim.parameter_groups import parameter_groups


def step(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(2, 3, 64, 64)).square().sum().backward()
        optimizer.step()


def test_adamw_is_torchs_fused() -> None:
    network = create_model("t8", num_classes=3)
    peer_network = copy.deepcopy(network)
    optimizer = build_optimizer(parameter_groups(network, 0.05), opt="AdamW", lr=1e-3)
    peer = torch.optim.AdamW(parameter_groups(peer_network, 0.05), lr=1e-3, fused=True)
    assert type(optimizer) is torch.optim.AdamW
    step(network, optimizer)
    step(peer_network, peer)
    for ours, theirs in zip(network.parameters(), peer_network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    peer.load_state_dict(optimizer.state_dict())
    for ours, theirs in zip(optimizer.param_groups, peer.param_groups, strict=True):
        for key in ("lr", "betas", "eps", "weight_decay", "fused", "amsgrad"):
            assert ours[key] == theirs[key], key


@pytest.mark.parametrize("opt", ["adamw", "adam", "sgd", "lamb", "lion"])
def test_optimizers_learn_and_repeat(opt: str) -> None:
    start = create_model("t8", num_classes=3)
    runs = []
    for _ in range(2):
        network = copy.deepcopy(start)
        optimizer = build_optimizer(parameter_groups(network, 0.05), opt=opt, lr=1e-3)
        step(network, optimizer)
        runs.append(network.state_dict())
        assert bool(optimizer.param_groups[0].get("fused")) == (opt in {"adamw", "adam", "sgd"})
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert not torch.equal(runs[0]["head.fc.weight"], start.state_dict()["head.fc.weight"])


def test_a_device_without_the_kernel_gets_none() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2, 2, device="meta"))], "weight_decay": 0.0}]
    assert not build_optimizer(groups, opt="adamw", lr=1e-3).param_groups[0].get("fused")


def test_momentum_goes_where_there_is_one() -> None:
    def build(opt: str) -> torch.optim.Optimizer:
        groups = [{"params": [nn.Parameter(torch.zeros(2, 2))], "weight_decay": 0.0}]
        return build_optimizer(groups, opt=opt, lr=1e-3, momentum=0.5)

    assert build("sgd").param_groups[0]["momentum"] == 0.5
    assert "momentum" not in build("adamw").param_groups[0]


@pytest.mark.parametrize(
    ("opt", "momentum", "message"),
    [
        ("lamp", 0.9, "'lamp'. Did you mean 'lamb'"),
        ("no_adamw", 0.9, "There is no optimizer 'no_adamw'"),  # timm takes it
        ("adahessian", 0.9, "second derivatives"),
        ("sgd", 0.0, "'sgd' does not start: Nesterov momentum"),
    ],
)
def test_what_cannot_be_built_is_refused(opt: str, momentum: float, message: str) -> None:
    with pytest.raises(FastViTError, match=message):
        build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], opt=opt, lr=1e-3, momentum=momentum)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error of a machine without CUDA")
def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(FastViTError, match="'fusedadamw' does not start: CUDA"):
        build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], opt="fusedadamw", lr=1e-3)


def test_schedules_set_rates_and_decays() -> None:
    groups = [
        {"params": [nn.Parameter(torch.zeros(2, 2))], "weight_decay": 0.05, "lr_scale": 0.25},
        {"params": [nn.Parameter(torch.zeros(2))], "weight_decay": 0.0},
    ]
    optimizer = build_optimizer(groups, opt="adamw", lr=1e-3)

    def rates() -> list[tuple[float, float]]:
        return [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]

    set_rates(optimizer, 4e-3, None)
    assert rates() == [(1e-3, 0.05), (4e-3, 0.0)]
    set_rates(optimizer, 2e-3, 0.0)
    assert rates() == [(5e-4, 0.0), (2e-3, 0.0)]
    state = optimizer.state_dict()
    optimizer = build_optimizer(groups, opt="adamw", lr=1e-3)
    optimizer.load_state_dict(state)  # resumed where the decay was 0
    set_rates(optimizer, 2e-3, 0.01)
    assert rates() == [(5e-4, 0.01), (2e-3, 0.0)]
