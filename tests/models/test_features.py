"""FastViT as a backbone: its maps are those of the whole network and of timm, and it holds nothing else."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from helpers.modules import images, random_network
from torch import Tensor, nn

from fastvit_cli import create_model, reparameterize
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.modules import DropPath, ReparamConv
from fastvit_cli.models.network import FastViT, FastViTFeatures
from fastvit_cli.models.variants import get_variant

TOLERANCE = 1e-11  # absolute and relative, float64


@pytest.fixture(scope="module", params=["t8", "sa12"])
def network(request: pytest.FixtureRequest) -> FastViT:
    return random_network(request.param)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return images(2, 3, 64, 96)


def features_of(network: FastViT, *out_indices: int) -> FastViTFeatures:
    """The backbone of a network with its weights, loaded as its docstring says."""
    features = create_model(network.variant.name, features_only=True, out_indices=out_indices).double().eval()
    wanted = features.state_dict().keys()
    features.load_state_dict({key: value for key, value in network.state_dict().items() if key in wanted})
    return features


def assert_same(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert isinstance(actual, list)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (0, 2), (1,)])
@torch.no_grad()
def test_maps_are_timms(network: FastViT, x: Tensor, out_indices: tuple[int, ...]) -> None:
    ours = features_of(network, *out_indices)
    name = f"fastvit_{network.variant.name}"
    theirs = timm.create_model(name, features_only=True, out_indices=out_indices).double().eval()
    # timm flattens the top modules of its backbones, so that `stages.0` becomes `stages_0`.
    renamed = {re.sub(r"^(stem|stages)\.", r"\1_", key): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict(renamed, strict=True)
    assert_same(ours(x), theirs(x))
    assert list(ours.channels) == theirs.feature_info.channels()
    assert list(ours.strides) == theirs.feature_info.reduction()


@torch.no_grad()
def test_last_map_is_what_the_head_reads(network: FastViT, x: Tensor) -> None:
    (last,) = features_of(network, 3)(x)
    torch.testing.assert_close(network.head(network.final_conv(last)), network(x), rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
def test_channels_and_strides_describe_the_maps(network: FastViT, x: Tensor) -> None:
    features = create_model(network.variant.name, features_only=True).double().eval()
    assert features.channels == network.variant.widths
    assert features.strides == (4, 8, 16, 32)
    for feature_map, channels, stride in zip(features(x), features.channels, features.strides, strict=True):
        assert feature_map.shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("fusion", [reparameterize, fuse_all])
@torch.no_grad()
def test_fused(network: FastViT, x: Tensor, fusion: type) -> None:
    features = features_of(network, 0, 2, 3)
    fused = fusion(features)
    assert all(module.reparam_conv is not None for module in fused.modules() if isinstance(module, ReparamConv))
    assert_same(fused(x), features(x))
    assert (fused.channels, fused.strides) == (features.channels, features.strides)


def test_built_fused_holds_what_fusing_leaves() -> None:
    later = reparameterize(create_model("sa12", features_only=True, out_indices=(1, 3)))
    built = create_model("sa12", features_only=True, out_indices=(1, 3), fused=True)
    shapes = {key: value.shape for key, value in later.state_dict().items()}
    assert {key: value.shape for key, value in built.state_dict().items()} == shapes


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_holds_the_stem_and_the_stages_up_to_the_last_chosen(last: int) -> None:
    with torch.device("meta"):
        keys = create_model("mci0").state_dict().keys()
        features = create_model("mci0", features_only=True, out_indices=(last,))
    kept = ("stem.", *(f"stages.{index}." for index in range(last + 1)))
    assert features.state_dict().keys() == {key for key in keys if key.startswith(kept)}


def test_drop_path_rates_are_those_of_the_whole_network() -> None:
    def rates(network: nn.Module) -> list[float]:
        return [module.rate for module in network.modules() if isinstance(module, DropPath)]

    whole = create_model("t8", drop_path_rate=0.3)
    features = create_model("t8", drop_path_rate=0.3, features_only=True, out_indices=(0, 1))
    assert rates(features) == rates(whole)[: sum(get_variant("t8").depths[:2])]


def test_all_parameters_learn(x: Tensor) -> None:
    features = create_model("t8", features_only=True, out_indices=(0, 3)).double()
    sum(feature_map.square().mean() for feature_map in features(x)).backward()
    assert all(parameter.grad is not None for parameter in features.parameters())


@pytest.mark.parametrize("out_indices", [(), (4,), (-1,), (0, 4), (2, 1), (1, 1)])
def test_stages_that_there_are_not(out_indices: tuple[int, ...]) -> None:
    with pytest.raises(FastViTError, match=re.escape(f"out_indices is {out_indices}")):
        create_model("t8", features_only=True, out_indices=out_indices)


def test_a_head_and_features_are_not_both_meant() -> None:
    with pytest.raises(FastViTError, match="num_classes is 10"):
        create_model("t8", features_only=True, num_classes=10)  # type: ignore[call-overload]


@torch.no_grad()
def test_in_a_segmenter() -> None:
    """The pattern of the README: lateral convolutions, then from coarse to fine."""

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = create_model("t8", features_only=True, out_indices=(1, 2, 3))
            self.lateral = nn.ModuleList(nn.Conv2d(channels, 8, 1) for channels in self.backbone.channels)

        def forward(self, x: Tensor) -> Tensor:
            fine, *coarser = [conv(m) for conv, m in zip(self.lateral, self.backbone(x), strict=True)]
            for feature_map in coarser:
                fine = fine + nn.functional.interpolate(feature_map, fine.shape[2:])
            return fine

    segmenter, x = Segmenter().eval(), torch.randn(1, 3, 65, 97)  # odd sides round up
    assert segmenter(x).shape == (1, 8, 9, 13)
    torch.testing.assert_close(reparameterize(segmenter)(x), segmenter(x), rtol=1e-4, atol=1e-4)
