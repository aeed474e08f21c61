"""Structural re-parameterisation: several branches while training, one convolution afterwards."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class KernelBias:
    """Weight (out, in / groups, k, k) and bias (out,) of one convolution; branches that are summed, add."""

    weight: Tensor
    bias: Tensor

    def __add__(self, other: "KernelBias") -> "KernelBias":
        return KernelBias(self.weight + other.weight, self.bias + other.bias)


class ReparamConv(nn.Module):
    """A convolution that is a sum of branches until `fuse()` makes it one.

    Subclasses create their branches in `__init__` unless `fused`, compute them in `forward_branches` and give
    their sum as one kernel in `equivalent_kernel`; `branches` names the attributes that fusion removes. The
    fused convolution is called `reparam_conv`, as in timm and in the reference.

    Source: RepVGG (arXiv 2101.03697) section 3.3; FastViT paper section 3.1.
    """

    branches: tuple[str, ...] = ()

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int, fused: bool
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.groups = groups
        self.reparam_conv: nn.Conv2d | None = self._single_conv() if fused else None

    def _single_conv(self) -> nn.Conv2d:
        return nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            padding=self.kernel_size // 2,
            groups=self.groups,
        )

    def forward_branches(self, x: Tensor) -> Tensor:
        """Sum of the branches: (B, in, H, W) to (B, out, H / stride, W / stride)."""
        raise NotImplementedError

    def equivalent_kernel(self) -> KernelBias:
        """The branches as one kernel and bias, in float64 so that summing them adds no rounding."""
        raise NotImplementedError

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution in whichever form it has now."""
        return self.forward_branches(x) if self.reparam_conv is None else self.reparam_conv(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x)

    @torch.no_grad()
    def fuse(self) -> None:
        """Replace the branches by `reparam_conv`, in place. Does nothing when already fused."""
        if self.reparam_conv is not None:
            return
        kernel = self.equivalent_kernel()
        parameter = next(self.parameters())
        conv = self._single_conv().to(device=parameter.device, dtype=parameter.dtype)
        conv.weight.copy_(kernel.weight)
        conv.bias.copy_(kernel.bias)  # type: ignore[union-attr]  # _single_conv always has a bias
        for name in self.branches:
            delattr(self, name)
        self.reparam_conv = conv


def norm_scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A BatchNorm in evaluation mode as x * scale + shift, each (C,) in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def normalized_kernel(kernel: Tensor, norm: nn.BatchNorm2d) -> KernelBias:
    """Fold a BatchNorm into the bias-free convolution `kernel` before it, in float64."""
    scale, shift = norm_scale_shift(norm)
    return KernelBias(kernel.double() * scale.reshape(-1, 1, 1, 1), shift)


def identity_kernel(channels: int, groups: int, kernel_size: int, like: Tensor) -> Tensor:
    """The kernel (channels, channels / groups, k, k) of a convolution that returns its input, float64."""
    per_group = channels // groups
    kernel = torch.zeros(channels, per_group, kernel_size, kernel_size, dtype=torch.float64, device=like.device)
    rows = torch.arange(channels, device=like.device)
    kernel[rows, rows % per_group, kernel_size // 2, kernel_size // 2] = 1.0
    return kernel


def pad_kernel(kernel: Tensor, kernel_size: int) -> Tensor:
    """Zero-pad a kernel of odd size to a larger odd size, keeping its centre."""
    return F.pad(kernel, [(kernel_size - kernel.shape[-1]) // 2] * 4)
