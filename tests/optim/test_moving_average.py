"""The average is timm's, to the last bit on a CPU."""

import torch
from timm.utils import ModelEmaV3
from torch import nn

from fastvit_cli.optim.moving_average import MovingAverage


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def _learn(network: nn.Module) -> None:
    network(torch.randn(4, 3, 8, 8))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


def _same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def test_equals_timm_bit_for_bit() -> None:
    network = _network()
    ours, theirs = MovingAverage(network, 0.9), ModelEmaV3(network, 0.9, use_warmup=True)
    for step in range(0, 40, 3):
        _learn(network)
        ours.update(step)
        theirs.update(network, step=step)
        assert _same(ours.module, theirs.module)
    assert int(ours.module.state_dict()["1.num_batches_tracked"]) == 14
    assert not ours.module.training


def test_the_device_may_say_that_nothing_was_made() -> None:
    network = _network()
    waited, ahead = MovingAverage(network, 0.9), MovingAverage(network, 0.9)
    for step in range(10, 20):
        _learn(network)
        made = step % 3 > 0
        if made:
            waited.update(step)
        before = [parameter.clone() for parameter in ahead.module.parameters()]
        ahead.update(step, torch.tensor(float(made)))
        if not made:
            assert all(map(torch.equal, before, ahead.module.parameters()))
    torch.testing.assert_close(ahead.module.state_dict()["0.weight"], waited.module.state_dict()["0.weight"])
