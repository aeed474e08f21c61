"""Feed-forward network with a depthwise convolution in front.

Source: FastViT paper section 3.2; reference file models/fastvit.py.
"""

from torch import Tensor, nn

from fastvit_cli.models.modules.layers import ConvNorm


class ConvFFN(nn.Module):
    """7x7 depthwise convolution + BatchNorm, 1x1 expansion, GELU, 1x1 projection. (B, C, H, W) to the same."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        norm_conv = ConvNorm(channels, channels, kernel_size=7, groups=channels)
        self.conv: ConvNorm | nn.Conv2d = norm_conv  # a plain convolution once all is fused
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        for conv in (norm_conv.conv, self.fc1, self.fc2):
            nn.init.trunc_normal_(conv.weight, std=0.02)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(self.conv(x))))
        return out
