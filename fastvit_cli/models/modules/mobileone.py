"""MobileOne block (arXiv 2206.04040, section 3.2; reference file models/modules/mobileone.py)."""

from torch import Tensor, nn

from fastvit_cli.models.modules.layers import ConvNorm, SqueezeExcite
from fastvit_cli.models.modules.reparam import (
    KernelBias,
    ReparamConv,
    identity_kernel,
    normalized_kernel,
    pad_kernel,
)


class MobileOneBlock(ReparamConv):
    """BatchNorm skip + 1x1 scale branch + k x k convolution, each normalised, summed; then SE and GELU.

    The skip exists when shapes match and the stride is 1, the scale branch when the kernel is larger than 1.
    (B, in, H, W) to (B, out, H / stride, W / stride).

    Args:
        conv_branch: False leaves only the skip, the form RepMixer subtracts.
        scale_branch: False leaves out the 1x1 branch.
        use_se: squeeze-and-excite after the sum.
        activation: GELU at the end.
    """

    branches = ("identity", "conv_scale", "conv_kxk")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        conv_branch: bool = True,
        scale_branch: bool = True,
        use_se: bool = False,
        activation: bool = True,
        fused: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups, fused)
        self.se = SqueezeExcite(out_channels) if use_se else nn.Identity()
        self.act = nn.GELU() if activation else nn.Identity()
        if fused:
            return
        has_skip = in_channels == out_channels and stride == 1
        self.identity = nn.BatchNorm2d(in_channels) if has_skip else None
        self.conv_scale = (
            ConvNorm(in_channels, out_channels, 1, stride, groups) if scale_branch and kernel_size > 1 else None
        )
        # A list of one: state dicts of the family number this branch.
        self.conv_kxk = nn.ModuleList(
            [ConvNorm(in_channels, out_channels, kernel_size, stride, groups)] if conv_branch else []
        )

    def forward_branches(self, x: Tensor) -> Tensor:
        active: list[nn.Module] = [branch for branch in (self.conv_scale, self.identity) if branch is not None]
        first, *rest = [branch(x) for branch in (*active, *self.conv_kxk)]
        out: Tensor = first
        for branch_out in rest:
            out = out + branch_out
        return out

    def equivalent_kernel(self) -> KernelBias:
        kernels = [conv.equivalent_kernel() for conv in self.conv_kxk if isinstance(conv, ConvNorm)]
        if self.conv_scale is not None:
            scale = self.conv_scale.equivalent_kernel()
            kernels.append(KernelBias(pad_kernel(scale.weight, self.kernel_size), scale.bias))
        if self.identity is not None:
            eye = identity_kernel(self.in_channels, self.groups, self.kernel_size, self.identity.weight)
            kernels.append(normalized_kernel(eye, self.identity))
        total, *rest = kernels
        for kernel in rest:
            total = total + kernel
        return total

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.se(self.convolve(x)))
        return out
