"""Conditional positional encoding (arXiv 2102.10882, section 3.2; reference models/fastvit.py)."""

from torch import Tensor, nn

from fastvit_cli.models.modules.reparam import KernelBias, ReparamConv, identity_kernel


class ConditionalPositionalEncoding(ReparamConv):
    """x + depthwise convolution of x with bias; fuses to one convolution. (B, C, H, W) to the same."""

    branches = ("pos_enc",)

    def __init__(self, channels: int, kernel_size: int = 7, *, fused: bool = False) -> None:
        super().__init__(channels, channels, kernel_size, stride=1, groups=channels, fused=fused)
        if fused:
            return
        self.pos_enc = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward_branches(self, x: Tensor) -> Tensor:
        out: Tensor = self.pos_enc(x) + x
        return out

    def equivalent_kernel(self) -> KernelBias:
        weight, bias = self.pos_enc.weight, self.pos_enc.bias
        assert bias is not None
        eye = identity_kernel(self.in_channels, self.groups, self.kernel_size, weight)
        return KernelBias(weight.double() + eye, bias.double())
