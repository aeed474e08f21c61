"""The image encoders of MobileCLIP, which have no reference values of their own: timm's are the witness."""

from __future__ import annotations

import pytest
import timm
import torch
from helpers.modules import images, random_network
from torch import Tensor, nn

from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import VARIANTS, get_variant

NAMES = ["mci0", "mci1", "mci2"]
OUTPUTS = 512
TOLERANCE = 1e-12  # of the largest output, in float64


@pytest.fixture(scope="module", params=["mci0", "mci1"])
def network(request: pytest.FixtureRequest) -> FastViT:
    return random_network(request.param, num_classes=OUTPUTS)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return images(2, 3, 64, 64)


@pytest.fixture(scope="module")
@torch.no_grad()
def expected(network: FastViT, x: Tensor) -> Tensor:
    return network(x)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max()
    assert (expected[0] - expected[1]).abs().max() > 0.01 * scale  # else the image would not matter
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_unfused_is_timms(network: FastViT, x: Tensor, expected: Tensor) -> None:
    theirs = timm.create_model(f"fastvit_{network.variant.name}").double().eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    assert_same(theirs(x), expected)


@torch.no_grad()
def test_branch_fused_is_timms(network: FastViT, x: Tensor, expected: Tensor) -> None:
    fused = reparameterize(network)
    theirs = timm.create_model(f"fastvit_{network.variant.name}", inference_mode=True).double().eval()
    theirs.load_state_dict(fused.state_dict(), strict=True)
    assert_same(fused(x), expected)
    assert_same(theirs(x), expected)


@torch.no_grad()
def test_all_fused(network: FastViT, x: Tensor, expected: Tensor) -> None:
    fused = fuse_all(network)
    assert fused.form == "all"
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
    assert_same(fused(x), expected)


@torch.no_grad()
def test_float32_weights_of_timm() -> None:
    """The other way round: timm's own weights in our network, as they come."""
    theirs = timm.create_model("fastvit_mci0").eval()
    ours = create_model("mci0").eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = images(1, 3, 96, 64).float()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_keys_shapes_and_counts_are_timms(name: str, fused: bool) -> None:
    variant = VARIANTS[name]
    with torch.device("meta"):
        ours = create_model(name, fused=fused)
        theirs = timm.create_model(f"fastvit_{name}", inference_mode=fused)
    assert ours.num_classes == theirs.num_classes == variant.num_classes == OUTPUTS
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    for network in (ours, theirs):
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == (variant.params_fused if fused else variant.params)


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_is_timms(name: str) -> None:
    config = timm.get_pretrained_cfg(f"fastvit_{name}.apple_mclip")
    ours = default_preprocessing(get_variant(f"fastvit_{name}"))
    assert (ours.mean, ours.std, ours.crop_pct) == (config.mean, config.std, config.crop_pct)
    assert (ours.mean, ours.std, ours.img_size, ours.interpolation) == ((0, 0, 0), (1, 1, 1), 256, "bicubic")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_was_published_for_imagenet(name: str) -> None:
    row = VARIANTS[name]
    assert (row.top1, row.top1_distilled, row.drop_path, row.drop_path_distilled, row.latency_ms) == (None,) * 5
