"""Each building block: `fuse()` preserves its function, and its function is the one its source defines."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from helpers.modules import images, randomized
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fastvit_cli.models.modules import (
    Attention,
    ConditionalPositionalEncoding,
    ConvFFN,
    ConvNorm,
    LargeKernelConv,
    LayerScale,
    MobileOneBlock,
    ReparamConv,
    RepMixer,
    SqueezeExcite,
)
from fastvit_cli.models.modules.reparam import identity_kernel, norm_scale_shift, pad_kernel

BLOCKS: dict[str, Callable[[], ReparamConv]] = {
    "mobileone stem, dense, stride 2": lambda: MobileOneBlock(3, 16, 3, stride=2),
    "mobileone stem, depthwise, stride 2": lambda: MobileOneBlock(16, 16, 3, stride=2, groups=16),
    "mobileone stem, 1x1 with skip": lambda: MobileOneBlock(16, 16, 1),
    "mobileone head, depthwise expansion with SE": lambda: MobileOneBlock(16, 32, 3, groups=16, use_se=True),
    "mobileone mixer": lambda: MobileOneBlock(16, 16, 3, groups=16, activation=False),
    "mobileone norm": lambda: MobileOneBlock(
        16, 16, 3, groups=16, conv_branch=False, scale_branch=False, activation=False
    ),
    "large kernel, stride 2": lambda: LargeKernelConv(16, 32),
    "large kernel, other sizes": lambda: LargeKernelConv(8, 8, kernel_size=9, small_kernel_size=5, stride=1),
    "large kernel with SE and GELU": lambda: LargeKernelConv(16, 32, use_se=True, activation=True),
    "repmixer": lambda: RepMixer(16),
    "repmixer, 7x7": lambda: RepMixer(16, kernel_size=7),
    "positional encoding": lambda: ConditionalPositionalEncoding(16),
    "positional encoding, 3x3": lambda: ConditionalPositionalEncoding(16, 3),
}


@pytest.fixture(params=BLOCKS)
def block(request: pytest.FixtureRequest) -> ReparamConv:
    return randomized(BLOCKS[request.param]())


@torch.no_grad()
def assert_fuse_preserves(block: ReparamConv, size: tuple[int, int]) -> None:
    x = images(2, block.in_channels, *size)
    expected = block(x)
    block.fuse()
    assert block.reparam_conv is not None
    assert not any(hasattr(block, name) for name in block.branches)
    torch.testing.assert_close(block(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(12, 12), (7, 10)])
def test_fuse_preserves_the_function(block: ReparamConv, size: tuple[int, int]) -> None:
    assert_fuse_preserves(block, size)


@torch.no_grad()
def test_fuse_twice(block: ReparamConv) -> None:
    block.fuse()
    once = block.reparam_conv
    block.fuse()
    assert block.reparam_conv is once


def test_fuse_keeps_dtype_and_trains(block: ReparamConv) -> None:
    block.float().fuse()
    assert {tensor.dtype for tensor in block.state_dict().values()} == {torch.float32}
    block(images(1, block.in_channels, 8, 8).float()).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize("name", BLOCKS)
def test_built_fused_as_fused_later(name: str) -> None:
    """`fused=True` builds exactly the tensors that `fuse()` leaves."""
    later = BLOCKS[name]()
    later.fuse()
    settings = {
        "in_channels": later.in_channels,
        "out_channels": later.out_channels,
        "kernel_size": later.kernel_size,
        "stride": later.stride,
    }
    if isinstance(later, MobileOneBlock):
        use_se = isinstance(later.se, SqueezeExcite)
        direct: ReparamConv = MobileOneBlock(**settings, groups=later.groups, use_se=use_se, fused=True)
    elif isinstance(later, LargeKernelConv):
        direct = LargeKernelConv(**settings, use_se=isinstance(later.se, SqueezeExcite), fused=True)
    else:
        direct = type(later)(later.in_channels, later.kernel_size, fused=True)
    shapes = {key: value.shape for key, value in later.state_dict().items()}
    assert {key: value.shape for key, value in direct.state_dict().items()} == shapes


@settings(max_examples=40, deadline=None)
@given(
    per_group=st.integers(1, 3),
    groups=st.integers(1, 3),
    expansion=st.integers(1, 2),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    conv_branch=st.booleans(),
    scale_branch=st.booleans(),
    use_se=st.booleans(),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_any_mobileone_block_fuses(
    per_group: int,
    groups: int,
    expansion: int,
    kernel_size: int,
    stride: int,
    conv_branch: bool,
    scale_branch: bool,
    use_se: bool,
    size: tuple[int, int],
    seed: int,
) -> None:
    channels = 16 * per_group * groups  # SE needs 16
    has_skip = expansion == 1 and stride == 1
    conv_branch |= not (has_skip or (scale_branch and kernel_size > 1))  # something must be left
    block = MobileOneBlock(
        channels,
        channels * expansion,
        kernel_size,
        stride,
        groups,
        conv_branch=conv_branch,
        scale_branch=scale_branch,
        use_se=use_se,
    )
    assert (block.identity is not None) == has_skip
    assert_fuse_preserves(randomized(block, seed), size)


# --- what each block computes, written out by hand ------------------------------------------------


def normalize(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean.reshape(-1, 1, 1), norm.running_var.reshape(-1, 1, 1)
    return (x - mean) / (var + 1e-5).sqrt() * norm.weight.reshape(-1, 1, 1) + norm.bias.reshape(-1, 1, 1)


def branch(x: torch.Tensor, pair: ConvNorm, **how: int) -> torch.Tensor:
    return normalize(F.conv2d(x, pair.conv.weight, padding=pair.conv.kernel_size[0] // 2, **how), pair.bn)


@torch.no_grad()
def test_mobileone_formula() -> None:
    block, x = randomized(MobileOneBlock(16, 16, 3, groups=16, use_se=True)), images(2, 16, 6, 5)
    assert block.identity is not None
    assert block.conv_scale is not None
    total = normalize(x, block.identity)
    total = total + branch(x, block.conv_scale, groups=16) + branch(x, block.conv_kxk[0], groups=16)
    torch.testing.assert_close(block(x), F.gelu(block.se(total)))


def test_mobileone_branches() -> None:
    """The skip needs equal shapes and stride 1, the scale branch a kernel larger than 1."""
    assert MobileOneBlock(16, 16, 3).identity is not None
    assert MobileOneBlock(16, 16, 3, stride=2).identity is None
    assert MobileOneBlock(16, 32, 3).identity is None
    assert MobileOneBlock(16, 16, 3).conv_scale is not None
    assert MobileOneBlock(16, 16, 1).conv_scale is None


@torch.no_grad()
def test_squeeze_excite_formula() -> None:
    se, x = randomized(SqueezeExcite(32)), images(2, 32, 5, 4)
    assert se.fc1.out_channels == 2
    mean = x.mean((2, 3))
    hidden = F.relu(mean @ se.fc1.weight.flatten(1).T + se.fc1.bias)
    gate = torch.sigmoid(hidden @ se.fc2.weight.flatten(1).T + se.fc2.bias)
    torch.testing.assert_close(se(x), x * gate[:, :, None, None])


@torch.no_grad()
def test_large_kernel_formula_has_no_activation() -> None:
    block, x = randomized(LargeKernelConv(8, 16)), images(2, 8, 10, 9)
    expected = branch(x, block.large_conv, stride=2, groups=8) + branch(x, block.small_conv, stride=2, groups=8)
    torch.testing.assert_close(block(x), expected)
    assert (expected < -1).any(), "a GELU would have cut these off"


@torch.no_grad()
def test_large_kernel_formula_of_mobileclip() -> None:
    block, x = randomized(LargeKernelConv(8, 16, use_se=True, activation=True)), images(2, 8, 10, 9)
    total = branch(x, block.large_conv, stride=2, groups=8) + branch(x, block.small_conv, stride=2, groups=8)
    torch.testing.assert_close(block(x), F.gelu(block.se(total)))
    assert block.se.fc1.out_channels == 4, "a quarter of the channels"


@torch.no_grad()
def test_repmixer_formula() -> None:
    block, x = randomized(RepMixer(8)), images(2, 8, 6, 6)
    torch.testing.assert_close(block(x), x + block.layer_scale.gamma * (block.mixer(x) - block.norm(x)))
    assert isinstance(block.mixer.act, nn.Identity)
    assert block.norm.identity is not None
    torch.testing.assert_close(block.norm(x), normalize(x, block.norm.identity))


@torch.no_grad()
def test_positional_encoding_formula() -> None:
    block, x = randomized(ConditionalPositionalEncoding(8)), images(2, 8, 6, 6)
    encoded = F.conv2d(x, block.pos_enc.weight, block.pos_enc.bias, padding=3, groups=8)
    torch.testing.assert_close(block(x), x + encoded)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@torch.no_grad()
def test_attention_formula(size: tuple[int, int]) -> None:
    """softmax(q k / sqrt(32)) v a head; qkv holds all of q, then k, then v, each head by head."""
    attention, x = randomized(Attention(64)), images(2, 64, *size)
    tokens = x.flatten(2).transpose(1, 2)
    query, key, value = (tokens @ attention.qkv.weight.T).chunk(3, dim=-1)
    heads = []
    for start in (0, 32):
        part = slice(start, start + 32)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(32)
        heads.append(scores.softmax(-1) @ value[..., part])
    out = torch.cat(heads, -1) @ attention.proj.weight.T + attention.proj.bias
    torch.testing.assert_close(attention(x), out.transpose(1, 2).reshape(x.shape))


def test_attention_biases_and_heads() -> None:
    attention = Attention(96)
    assert (attention.num_heads, attention.head_dim) == (3, 32)
    assert attention.qkv.bias is None
    assert attention.proj.bias is not None
    with pytest.raises(AssertionError, match="48 channels"):
        Attention(48)


@torch.no_grad()
def test_conv_ffn_formula() -> None:
    ffn, x = randomized(ConvFFN(8, 24)), images(2, 8, 6, 6)
    assert isinstance(ffn.conv, ConvNorm)
    assert ffn.conv.conv.kernel_size == (7, 7)
    hidden = F.conv2d(branch(x, ffn.conv, groups=8), ffn.fc1.weight, ffn.fc1.bias)
    torch.testing.assert_close(ffn(x), F.conv2d(F.gelu(hidden), ffn.fc2.weight, ffn.fc2.bias))


def test_layer_scale() -> None:
    scale, x = LayerScale(3, 0.5), images(2, 3, 4, 4)
    assert scale.gamma.shape == (3, 1, 1)
    torch.testing.assert_close(scale.double()(x), x * 0.5)


# --- the arithmetic of kernels --------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 4)])
@torch.no_grad()
def test_conv_norm_equivalent_kernel(stride: int, groups: int) -> None:
    pair, x = randomized(ConvNorm(8, 12, 3, stride, groups)), images(2, 8, 7, 7)
    kernel = pair.equivalent_kernel()
    out = F.conv2d(x, kernel.weight, kernel.bias, stride=stride, padding=1, groups=groups)
    torch.testing.assert_close(out, pair(x))


@torch.no_grad()
def test_norm_scale_shift() -> None:
    norm, x = randomized(nn.BatchNorm2d(5)), images(2, 5, 3, 3)
    scale, shift = norm_scale_shift(norm.float())
    assert scale.dtype == shift.dtype == torch.float64
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], norm.double()(x))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_identity_kernel_returns_its_input(groups: int, kernel_size: int) -> None:
    x = images(2, 6, 8, 5)
    kernel = identity_kernel(6, groups, kernel_size, x)
    assert kernel.dtype == torch.float64
    assert torch.equal(F.conv2d(x, kernel, padding=kernel_size // 2, groups=groups), x)


@pytest.mark.parametrize(("small", "large"), [(1, 3), (1, 7), (3, 7), (3, 3)])
def test_padded_kernel_is_the_same_convolution(small: int, large: int) -> None:
    x, kernel = images(1, 2, 9, 8), images(4, 2, small, small)
    padded = pad_kernel(kernel, large)
    assert padded.shape == (4, 2, large, large)
    torch.testing.assert_close(F.conv2d(x, padded, padding=large // 2), F.conv2d(x, kernel, padding=small // 2))
