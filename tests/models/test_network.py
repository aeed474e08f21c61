"""The network as a whole: input sizes, the head, stochastic depth, and what the weights start from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastvit_cli import create_model
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.modules import Attention, ConvFFN, ConvNorm, DropPath, LayerScale, RepMixer, SqueezeExcite
from fastvit_cli.models.network import AttentionBlock, FastViT, RepMixerBlock
from fastvit_cli.models.variants import VARIANTS, get_variant


@pytest.fixture(scope="module")
def t8() -> FastViT:
    return create_model("t8").eval()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (33, 47), (32, 32), (1, 1)])
@torch.no_grad()
def test_input_sizes(size: tuple[int, int], fused: bool) -> None:
    """Multiples of 32 are best; nothing else fails, and each stage halves the map, rounding up."""
    network = create_model("t8", num_classes=7, fused=fused).eval()
    x = torch.randn(2, 3, *size)
    assert network(x).shape == (2, 7)
    features = network.stages(network.stem(x))
    assert features.shape == (2, 384, *(-(-side // 32) for side in size))


@pytest.mark.parametrize("variant", ["t8", "sa12"])
@torch.no_grad()
def test_embedding(variant: str) -> None:
    network = create_model(variant, num_classes=0).eval()
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, get_variant(variant).embedding_dim)
    assert not [key for key in network.state_dict() if key.startswith("head.")]


@torch.no_grad()
def test_classifier_reads_the_embedding(t8: FastViT) -> None:
    headless = create_model("t8", num_classes=0).eval()
    headless.load_state_dict({k: v for k, v in t8.state_dict().items() if not k.startswith("head.")})
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(t8.head.fc(headless(x)), t8(x))


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(t8: FastViT) -> None:
    x = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(t8(x)[1:2], t8(x[1:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_stages(name: str) -> None:
    variant = VARIANTS[name]
    with torch.device("meta"):
        network = create_model(name)
    for index, stage in enumerate(network.stages):
        attention = variant.attention and index == 3
        assert len(stage.blocks) == variant.depths[index]
        assert all(isinstance(block, AttentionBlock if attention else RepMixerBlock) for block in stage.blocks)
        assert isinstance(stage.downsample, nn.Identity) == (index == 0)
        has_se = any(isinstance(module, SqueezeExcite) for module in stage.modules())
        assert has_se == (name.startswith("mci") and index >= 2)
        assert isinstance(stage.pos_emb, nn.Identity) != attention
    heads = {module.num_heads for module in network.modules() if isinstance(module, Attention)}
    assert heads == ({variant.widths[-1] // 32} if variant.attention else set())


# --- stochastic depth -----------------------------------------------------------------------------


def test_drop_path_rates_grow_linearly_over_all_blocks() -> None:
    network = create_model("sa12", drop_path_rate=0.2)
    blocks = [block for stage in network.stages for block in stage.blocks]
    for index, block in enumerate(blocks):
        rates = [module.rate for module in block.modules() if isinstance(module, DropPath)]
        assert len(rates) == (2 if isinstance(block, AttentionBlock) else 1)
        assert rates == pytest.approx([0.2 * index / (len(blocks) - 1)] * len(rates), abs=1e-7)


def test_drop_path_acts_in_training_only() -> None:
    network, x = create_model("t8", drop_path_rate=0.9, num_classes=5), torch.randn(8, 3, 32, 32)
    for module in network.modules():
        if isinstance(module, LayerScale):
            nn.init.ones_(module.gamma)  # 1e-5 would hide a dropped block
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    with torch.no_grad():
        assert not torch.allclose(network.train()(x), network(x))
        assert torch.equal(network.eval()(x), network(x))


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.3).train(), torch.ones(20_000, 2, 3, 1)
    out = drop(x)
    per_sample = out.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))
    assert torch.allclose(out.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)  # standard error .005
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("rate", "training"), [(0.3, False), (0.0, True)])
def test_drop_path_as_identity(rate: float, training: bool) -> None:
    x = torch.randn(4, 2, 3, 3)
    assert DropPath(rate).train(training)(x) is x


# --- what weights start from ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=["s12", "sa36"])
def fresh(request: pytest.FixtureRequest) -> FastViT:
    torch.manual_seed(0)
    return create_model(request.param)


def test_linears_and_ffn_convolutions_start_from_a_truncated_normal(fresh: FastViT) -> None:
    seen = {"linear": 0, "ffn": 0}
    for module in fresh.modules():
        kind = "linear" if isinstance(module, nn.Linear) else "ffn" if isinstance(module, ConvFFN) else None
        if kind is None:
            continue
        seen[kind] += 1
        layers: list[nn.Linear | nn.Conv2d] = [module] if kind == "linear" else [module.fc1, module.fc2]
        if kind == "ffn":
            assert isinstance(module.conv, ConvNorm)
            layers.append(module.conv.conv)
        for layer in layers:
            # The narrowest has 3,136 values: a standard error of .00025.
            assert layer.weight.std().item() == pytest.approx(0.02, abs=0.001)
            assert abs(layer.weight.mean().item()) < 0.0015
            assert layer.bias is None or not layer.bias.any()
    attention_blocks = 6 if fresh.variant.attention else 0
    assert seen == {"linear": 1 + 2 * attention_blocks, "ffn": sum(fresh.variant.depths)}


def test_other_convolutions_start_as_torch_does(fresh: FastViT) -> None:
    """torch draws uniformly within 1 / sqrt(fan in)."""
    conv = fresh.stages[1].downsample.proj[1].conv_kxk[0].conv  # 1x1, 128 channels
    bound = 128**-0.5
    assert conv.weight.abs().max().item() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_layer_scales_start_from_the_variants_value(fresh: FastViT) -> None:
    value = fresh.variant.layer_scale_init
    scales = [module.gamma for module in fresh.modules() if isinstance(module, LayerScale)]
    assert len(scales) == sum(fresh.variant.depths) * 2
    assert all(torch.equal(gamma, torch.full_like(gamma, value)) for gamma in scales)
    mixers = [module for module in fresh.modules() if isinstance(module, RepMixer)]
    assert all(mixer.layer_scale.gamma.shape == (mixer.in_channels, 1, 1) for mixer in mixers)


def test_initialisation_follows_the_seed() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in create_model("t8", num_classes=2).parameters()])

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


# --- wrong values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, float("nan")])
def test_drop_path_rate_out_of_range(rate: float) -> None:
    with pytest.raises(FastViTError, match="drop_path_rate"):
        create_model("t8", drop_path_rate=rate)


def test_negative_number_of_classes() -> None:
    with pytest.raises(FastViTError, match="num_classes is -1"):
        create_model("t8", num_classes=-1)
