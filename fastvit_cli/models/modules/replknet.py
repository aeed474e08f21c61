"""Large-kernel convolution of RepLKNet.

Source: arXiv 2203.06717, section 3; reference file models/modules/replknet.py.
"""

from torch import Tensor, nn

from fastvit_cli.models.modules.layers import ConvNorm, SqueezeExcite
from fastvit_cli.models.modules.reparam import KernelBias, ReparamConv, pad_kernel


class LargeKernelConv(ReparamConv):
    """Large depthwise convolution plus a parallel small one, each normalised, summed; then SE and GELU on request.

    (B, in, H, W) to (B, out, H / stride, W / stride).

    Args:
        use_se: squeeze-and-excite after the sum, as in MobileCLIP.
        activation: GELU at the end. FastViT's reference computes one and drops its result, so its published weights
            expect none; those of MobileCLIP do.
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
        use_se: bool = False,
        activation: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, in_channels, fused)
        self.se = SqueezeExcite(out_channels, reduction=4) if use_se else nn.Identity()
        self.act = nn.GELU() if activation else nn.Identity()
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

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.se(self.convolve(x)))
        return out
