"""The small layers that every block shares."""

import torch
from torch import Tensor, nn

from fastvit_cli.models.modules.reparam import KernelBias, normalized_kernel


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm: (B, in, H, W) to (B, out, H / stride, W / stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out

    def equivalent_kernel(self) -> KernelBias:
        """Kernel and bias of the one convolution that equals this pair in evaluation mode, float64."""
        return normalized_kernel(self.conv.weight, self.bn)


class LayerScale(nn.Module):
    """One learned factor a channel, shape (C, 1, 1) (CaiT, arXiv 2103.17239, section 2)."""

    def __init__(self, channels: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), init_value))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth: in training, drops a residual for whole samples and rescales the kept ones
    (arXiv 1603.09382, section 3)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep)
        return x * mask / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean, ReLU inside (arXiv 1709.01507; reference file mobileone.py)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)
        gate = self.fc2(torch.relu(self.fc1(gate)))
        return x * torch.sigmoid(gate)
