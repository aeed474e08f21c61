"""Reusable building blocks: MobileOne, the large-kernel convolution of RepLKNet, RepMixer, attention, ConvFFN."""

from fastvit_cli.models.modules.attention import Attention
from fastvit_cli.models.modules.convffn import ConvFFN
from fastvit_cli.models.modules.layers import ConvNorm, DropPath, LayerScale, SqueezeExcite
from fastvit_cli.models.modules.mobileone import MobileOneBlock
from fastvit_cli.models.modules.positional import ConditionalPositionalEncoding
from fastvit_cli.models.modules.reparam import ReparamConv
from fastvit_cli.models.modules.replknet import LargeKernelConv
from fastvit_cli.models.modules.repmixer import RepMixer

__all__ = [
    "Attention",
    "ConditionalPositionalEncoding",
    "ConvFFN",
    "ConvNorm",
    "DropPath",
    "LargeKernelConv",
    "LayerScale",
    "MobileOneBlock",
    "RepMixer",
    "ReparamConv",
    "SqueezeExcite",
]
