"""Fusing leaves the original alone, can be repeated, works inside other modules and rounds only once."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from helpers.modules import damped, images, random_network, randomized
from torch import nn

from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.modules import Attention, ReparamConv
from fastvit_cli.models.network import FastViT

FUSIONS = [reparameterize, fuse_all]
Fusion = Callable[[nn.Module], nn.Module]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_original_is_untouched(fusion: Fusion) -> None:
    network = random_network("sa12").train()
    before = copy.deepcopy(network.state_dict())
    fused = fusion(network)
    assert not fused.training
    assert not any(module.training for module in fused.modules())
    assert all(module.training for module in network.modules())
    assert network.form == "unfused"
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)

    network(images(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    shared = {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in fused.parameters()}
    assert not shared, "training the original would change the fused copy"


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_fusing_again_changes_nothing(fusion: Fusion) -> None:
    once = fusion(random_network("sa12"))
    twice = fusion(once)
    assert twice is not once
    assert twice.state_dict().keys() == once.state_dict().keys()
    assert all(torch.equal(twice.state_dict()[key], value) for key, value in once.state_dict().items())


@pytest.mark.parametrize("variant", ["t8", "sa12"])
@torch.no_grad()
def test_same_function(variant: str) -> None:
    network, x = random_network(variant), images(2, 3, 64, 96)
    expected = network(x)
    assert expected.std() > 0.1  # else anything would agree
    torch.testing.assert_close(reparameterize(network)(x), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(fuse_all(network)(x), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(fuse_all(reparameterize(network))(x), expected, rtol=0, atol=1e-10)


def test_nothing_is_left_to_fuse() -> None:
    fused = reparameterize(random_network("sa12"))
    assert all(module.reparam_conv is not None for module in fused.modules() if isinstance(module, ReparamConv))
    names = {name.rsplit(".", 1)[-1] for name, _ in fused.named_modules()}
    assert not names & {"conv_kxk", "conv_scale", "identity", "mixer", "large_conv", "small_conv", "pos_enc"}


def test_all_fused_keeps_only_convolutions_linears_and_activations() -> None:
    fused = fuse_all(random_network("sa12"))
    leaves = {type(module).__name__ for module in fused.modules() if not list(module.children())}
    assert leaves == {"AdaptiveAvgPool2d", "Conv2d", "DropPath", "Flatten", "GELU", "Identity", "Linear"}
    biases = [m.qkv.bias for m in fused.modules() if isinstance(m, Attention)]
    assert biases
    assert all(bias is not None for bias in biases)


def test_forms() -> None:
    network = random_network("sa12")
    forms = [network.form, reparameterize(network).form, fuse_all(network).form]
    assert forms == ["unfused", "branches", "all"]
    assert create_model("t8", num_classes=0, fused=True).form == "branches"


@torch.no_grad()
def test_kernels_are_summed_in_float64_and_rounded_once() -> None:
    network = random_network("t8")
    single = copy.deepcopy(network).float()
    exact = copy.deepcopy(single).double()  # the same weights, rounded to float32 before
    for fusion in FUSIONS:
        fused, reference = fusion(single).state_dict(), fusion(exact).state_dict()
        kernels = [key for key in fused if "reparam_conv" in key or key.endswith("mlp.conv.weight")]
        assert kernels
        for key in kernels:
            assert fused[key].dtype == torch.float32
            assert torch.equal(fused[key], reference[key].float()), key


class Detector(nn.Module):
    """A FastViT as part of something larger, beside a convolution of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = create_model("t8", num_classes=0)
        self.neck = nn.Sequential(nn.Linear(768, 16), nn.BatchNorm1d(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.neck(self.backbone(x))
        return out


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_inside_another_module(fusion: Fusion) -> None:
    detector = randomized(Detector())
    damped(detector.backbone)
    x = images(2, 3, 64, 64)
    fused = fusion(detector)
    torch.testing.assert_close(fused(x), detector(x), rtol=1e-9, atol=1e-9)
    assert isinstance(fused.neck[1], nn.BatchNorm1d), "only blocks of the family are fused"
    assert fused.backbone.form != "unfused"


@torch.no_grad()
def test_a_single_block() -> None:
    """A `ReparamConv` that is itself the whole module."""
    block = randomized(create_model("t8").stem[0])
    x = images(1, 3, 9, 9)
    fused = reparameterize(block)
    assert fused.reparam_conv is not None
    torch.testing.assert_close(fused(x), block(x))


def test_fused_network_can_be_fine_tuned() -> None:
    fused = fuse_all(random_network("sa12")).train()
    fused(images(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in fused.parameters())


@pytest.mark.parametrize("fuse", [reparameterize, fuse_all])
def test_without_float64_on_the_device_the_cpu_fuses(
    fuse: Callable[[FastViT], FastViT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The boundary to MPS: the model leaves the device for the fusion and returns to it."""
    moves: list[str] = []
    real_to, real_cpu = FastViT.to, FastViT.cpu
    monkeypatch.setattr("fastvit_cli.models.fusion.supports_float64", lambda _: False)
    monkeypatch.setattr(FastViT, "cpu", lambda self: (moves.append("cpu"), real_cpu(self))[1])
    monkeypatch.setattr(FastViT, "to", lambda self, device: (moves.append(str(device)), real_to(self, device))[1])
    model = create_model("t8", num_classes=2)
    fused = fuse(model)
    assert moves == ["cpu", "cpu"]
    assert fused.form != "unfused"
    assert model.form == "unfused"
