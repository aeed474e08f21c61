"""RepMixer, the token mixer without a skip at inference.

Source: FastViT paper section 3.1; reference file models/fastvit.py.
"""

from torch import Tensor

from fastvit_cli.models.modules.layers import LayerScale
from fastvit_cli.models.modules.mobileone import MobileOneBlock
from fastvit_cli.models.modules.reparam import KernelBias, ReparamConv, identity_kernel


class RepMixer(ReparamConv):
    """x + gamma * (mixer(x) - norm(x)), which fuses to one depthwise convolution. (B, C, H, W) to the same.

    The reference computes nothing else between input and output, so the residual fuses too.
    """

    branches = ("norm", "mixer", "layer_scale")

    def __init__(
        self, channels: int, kernel_size: int = 3, layer_scale_init: float = 1e-5, *, fused: bool = False
    ) -> None:
        super().__init__(channels, channels, kernel_size, stride=1, groups=channels, fused=fused)
        if fused:
            return
        self.norm = MobileOneBlock(
            channels,
            channels,
            kernel_size,
            groups=channels,
            conv_branch=False,
            scale_branch=False,
            activation=False,
        )
        self.mixer = MobileOneBlock(channels, channels, kernel_size, groups=channels, activation=False)
        self.layer_scale = LayerScale(channels, layer_scale_init)

    def forward_branches(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layer_scale(self.mixer(x) - self.norm(x))
        return out

    def equivalent_kernel(self) -> KernelBias:
        mixer, norm = self.mixer.equivalent_kernel(), self.norm.equivalent_kernel()
        gamma = self.layer_scale.gamma.double()
        eye = identity_kernel(self.in_channels, self.groups, self.kernel_size, gamma)
        return KernelBias(
            eye + gamma.unsqueeze(-1) * (mixer.weight - norm.weight),
            gamma.flatten() * (mixer.bias - norm.bias),
        )
