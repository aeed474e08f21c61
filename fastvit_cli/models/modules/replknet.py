"""Large-kernel convolution of RepLKNet.

Source: arXiv 2203.06717, section 3; reference file models/modules/replknet.py.
"""

from torch import Tensor

from fastvit_cli.models.modules.layers import ConvNorm
from fastvit_cli.models.modules.reparam import KernelBias, ReparamConv, pad_kernel


class LargeKernelConv(ReparamConv):
    """Large depthwise convolution plus a parallel small one, each normalised, summed.

    (B, in, H, W) to (B, out, H / stride, W / stride). There is no activation: the reference computes a GELU
    here and drops its result, so published weights expect none.
    """

    branches = ("large_conv", "small_conv")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 7,
        small_kernel_size: int = 3,
        stride: int = 2,
        *,
        fused: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, in_channels, fused)
        if fused:
            return
        self.large_conv = ConvNorm(in_channels, out_channels, kernel_size, stride, in_channels)
        self.small_conv = ConvNorm(in_channels, out_channels, small_kernel_size, stride, in_channels)

    def forward_branches(self, x: Tensor) -> Tensor:
        out: Tensor = self.large_conv(x) + self.small_conv(x)
        return out

    def equivalent_kernel(self) -> KernelBias:
        small = self.small_conv.equivalent_kernel()
        padded = KernelBias(pad_kernel(small.weight, self.kernel_size), small.bias)
        return self.large_conv.equivalent_kernel() + padded
