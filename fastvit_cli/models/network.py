"""The FastViT network (paper section 3 and figure 2; reference file models/fastvit.py).

Attribute names are timm's, so that a state dict of one loads into the other.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fastvit_cli.models.modules import (
    Attention,
    ConditionalPositionalEncoding,
    ConvFFN,
    ConvNorm,
    DropPath,
    LargeKernelConv,
    LayerScale,
    MobileOneBlock,
    RepMixer,
)
from fastvit_cli.models.recompute import recomputed
from fastvit_cli.models.variants import Variant

# unfused: trained branches. branches: each a single convolution, as the reference and timm fuse.
# all: BatchNorms and layer scales folded into their neighbours too.
Form = Literal["unfused", "branches", "all"]


class RepMixerBlock(nn.Module):
    """RepMixer, then the ConvFFN residual. (B, C, H, W) to the same."""

    def __init__(self, variant: Variant, channels: int, drop_path: float, fused: bool) -> None:
        super().__init__()
        self.token_mixer = RepMixer(channels, layer_scale_init=variant.layer_scale_init, fused=fused)
        self.mlp = ConvFFN(channels, channels * variant.mlp_ratio)
        self.layer_scale: nn.Module = LayerScale(channels, variant.layer_scale_init)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        out: Tensor = x + self.drop_path(self.layer_scale(self.mlp(x)))
        return out


class AttentionBlock(nn.Module):
    """Attention residual, then the ConvFFN residual. (B, C, H, W) to the same."""

    def __init__(self, variant: Variant, channels: int, drop_path: float) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.token_mixer = Attention(channels)
        self.layer_scale_1: nn.Module = LayerScale(channels, variant.layer_scale_init)
        self.drop_path1 = DropPath(drop_path)
        self.mlp = ConvFFN(channels, channels * variant.mlp_ratio)
        self.layer_scale_2: nn.Module = LayerScale(channels, variant.layer_scale_init)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.layer_scale_1(self.token_mixer(self.norm(x))))
        out: Tensor = x + self.drop_path2(self.layer_scale_2(self.mlp(x)))
        return out


class PatchEmbedding(nn.Module):
    """Halves the map before stage `index`: 7x7 depthwise large-kernel convolution, then a 1x1 MobileOne block.

    (B, in, H, W) to (B, out, H / 2, W / 2).
    """

    def __init__(self, variant: Variant, index: int, fused: bool) -> None:
        super().__init__()
        in_channels, out_channels = variant.widths[index - 1], variant.widths[index]
        self.proj = nn.Sequential(
            LargeKernelConv(
                in_channels,
                out_channels,
                use_se=index in variant.se_stages,
                activation=variant.large_kernel_act,
                fused=fused,
            ),
            MobileOneBlock(out_channels, out_channels, kernel_size=1, fused=fused),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class Stage(nn.Module):
    """Optional patch embedding, optional positional encoding, then the blocks.

    Attributes:
        recompute: the inside of the blocks in the backward pass, instead of keeping it.
    """

    recompute = False

    def __init__(self, variant: Variant, index: int, drop_paths: list[float], fused: bool) -> None:
        super().__init__()
        width = variant.widths[index]
        attention = variant.attention and index == len(variant.widths) - 1
        self.downsample = PatchEmbedding(variant, index, fused) if index else nn.Identity()
        self.pos_emb = ConditionalPositionalEncoding(width, fused=fused) if attention else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                AttentionBlock(variant, width, rate) if attention else RepMixerBlock(variant, width, rate, fused)
                for rate in drop_paths
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pos_emb(self.downsample(x))
        if self.recompute and self.training:
            for block in self.blocks:
                x = recomputed(block, x)
            return x
        out: Tensor = self.blocks(x)
        return out


def _stem(variant: Variant, fused: bool) -> nn.Sequential:
    """(B, 3, H, W) to (B, first width, H / 4, W / 4)."""
    width = variant.widths[0]
    return nn.Sequential(
        MobileOneBlock(3, width, 3, stride=2, fused=fused),
        MobileOneBlock(width, width, 3, stride=2, groups=width, fused=fused),
        MobileOneBlock(width, width, 1, fused=fused),
    )


def _stages(variant: Variant, count: int, drop_path_rate: float, fused: bool) -> nn.Sequential:
    """The first `count` stages, with the drop-path rates that they have in the whole network."""
    rates = iter(torch.linspace(0, drop_path_rate, sum(variant.depths), device="cpu").tolist())
    return nn.Sequential(
        *(
            Stage(variant, index, [next(rates) for _ in range(depth)], fused)
            for index, depth in enumerate(variant.depths[:count])
        )
    )


def _init_linears(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class FastViT(nn.Module):
    """FastViT classifier.

    Normalised images (B, 3, H, W) to logits (B, num_classes); with `num_classes=0`, to the pooled embedding
    (B, 2 * last width). H and W are best multiples of 32, the total stride.

    Args:
        variant: row of the family table.
        num_classes: size of the classifier; 0 leaves it out.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 over all blocks.
        fused: build the single-convolution form instead of the branches.
    """

    def __init__(
        self, variant: Variant, num_classes: int = 1000, drop_path_rate: float = 0.0, fused: bool = False
    ) -> None:
        super().__init__()
        self.variant = variant
        self.num_classes = num_classes
        self.stem = _stem(variant, fused)
        self.stages = _stages(variant, len(variant.depths), drop_path_rate, fused)
        self.final_conv = MobileOneBlock(
            variant.widths[-1],
            variant.embedding_dim,
            kernel_size=3,
            groups=variant.widths[-1],
            use_se=True,
            fused=fused,
        )
        self.head = nn.Sequential(
            OrderedDict(
                global_pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)),
                fc=nn.Linear(variant.embedding_dim, num_classes) if num_classes else nn.Identity(),
            )
        )
        _init_linears(self)

    @property
    def form(self) -> Form:
        """Which of its forms the network has now."""
        if self.final_conv.reparam_conv is None:
            return "unfused"
        ffn_has_norm = any(isinstance(module, ConvNorm) for module in self.modules())
        return "branches" if ffn_has_norm else "all"

    def recompute_blocks(self, recompute: bool) -> None:
        """Whether the backward pass computes the inside of the blocks again, or the forward pass keeps it."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.recompute = recompute

    def recomputed_blocks(self) -> list[nn.Module]:
        """Those of which the backward pass knows only what goes in."""
        return [
            block for stage in self.stages if isinstance(stage, Stage) and stage.recompute for block in stage.blocks
        ]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.final_conv(self.stages(self.stem(x))))
        return out


class FastViTFeatures(nn.Module):
    """FastViT as the backbone of a detector or a segmenter.

    Normalised images (B, 3, H, W) to a list of maps, one a chosen stage: (B, channels[i], H / strides[i],
    W / strides[i]), rounded up. There is neither a final convolution nor a head, nor any stage after the last one
    chosen; what there is has the names it has in a `FastViT`, so that weights come from one of the same form by

        wanted = features.state_dict().keys()
        features.load_state_dict({key: value for key, value in model.state_dict().items() if key in wanted})

    Args:
        variant: row of the family table.
        out_indices: stages (0 to 3) whose maps are returned, in ascending order.
        drop_path_rate: as in `FastViT`, over all blocks of the variant, left out or not.
        fused: build the single-convolution form instead of the branches.

    Attributes:
        channels: of each returned map.
        strides: of each returned map, in pixels of the image.
    """

    def __init__(
        self, variant: Variant, out_indices: Sequence[int], drop_path_rate: float = 0.0, fused: bool = False
    ) -> None:
        super().__init__()
        self.variant = variant
        self.out_indices = tuple(out_indices)
        self.channels = tuple(variant.widths[index] for index in self.out_indices)
        self.strides = tuple(4 * 2**index for index in self.out_indices)
        self.stem = _stem(variant, fused)
        self.stages = _stages(variant, self.out_indices[-1] + 1, drop_path_rate, fused)
        _init_linears(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return maps
