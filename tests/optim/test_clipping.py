import copy

import pytest
import torch
from timm.utils import dispatch_clip_grad
from torch import nn

from fastvit_cli.errors import FastViTError
from fastvit_cli.optim import clipping
from fastvit_cli.optim.clipping import CLIP_MODES, clip_gradients


def network_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 2))
    network[:3](torch.randn(5, 3, 3, 3) * 10).square().sum().backward()  # the last layer has no gradients
    return network


def test_units_clipped_together_are_clipped_as_alone() -> None:
    """The form for devices; on the CPU it is timm's own, bit for bit."""
    network = network_with_gradients()
    network[0].to(memory_format=torch.channels_last)
    with_gradients = [parameter for parameter in network.parameters() if parameter.grad is not None]
    expected = [torch.nn.Parameter(parameter.detach().clone()) for parameter in with_gradients]
    for one, other in zip(with_gradients, expected, strict=True):
        other.grad = one.grad.clone()  # type: ignore[union-attr]
    dispatch_clip_grad(expected, 0.01, mode="agc")
    clipping._clip_adaptively(with_gradients, 0.01)
    for one, other in zip(with_gradients, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("mode", "largest"), [("norm", 1.0), ("value", 0.5), ("agc", 0.01), ("norm", 1e9)])
def test_equals_timm(mode: str, largest: float) -> None:
    ours = network_with_gradients()
    before, theirs = copy.deepcopy(ours), copy.deepcopy(ours)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.grad = None if one.grad is None else one.grad.clone()
    before_gradients = [p.grad.clone() for p in ours.parameters() if p.grad is not None]
    clip_gradients(ours.parameters(), largest, mode)
    dispatch_clip_grad(theirs.parameters(), largest, mode)
    gradients = [p.grad for p in ours.parameters() if p.grad is not None]
    for one, other in zip(gradients, (p.grad for p in theirs.parameters() if p.grad is not None), strict=True):
        assert torch.equal(one, other)
    changed = not all(torch.equal(a, b) for a, b in zip(gradients, before_gradients, strict=True))
    assert changed == (largest < 1e9)
    for one, other in zip(ours.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other), "weights are left alone"


def test_norm_is_of_all_gradients_together() -> None:
    network = network_with_gradients()
    clip_gradients(network.parameters(), 1.0, "norm")
    norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1.0, rel=1e-5)


def test_value_bounds_every_gradient() -> None:
    network = network_with_gradients()
    clip_gradients(network.parameters(), 0.5, "value")
    assert max(p.grad.abs().max().item() for p in network.parameters() if p.grad is not None) == 0.5


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(FastViTError, match=r"'norms'\. Did you mean 'norm'\?"):
        clip_gradients([], 1.0, "norms")
    assert set(CLIP_MODES) == {"norm", "value", "agc"}
