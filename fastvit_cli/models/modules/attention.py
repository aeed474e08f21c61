"""Multi-head self-attention over the positions of a feature map.

Source: FastViT paper section 3.3; reference file models/fastvit.py.
"""

from torch import Tensor, nn
from torch.nn import functional as F

HEAD_DIM = 32


class Attention(nn.Module):
    """Self-attention with heads of 32 channels; qkv without bias, projection with. (B, C, H, W) to the same."""

    def __init__(self, channels: int, head_dim: int = HEAD_DIM) -> None:
        super().__init__()
        assert channels % head_dim == 0, f"{channels} channels do not divide into heads of {head_dim}"
        self.head_dim = head_dim
        self.num_heads = channels // head_dim
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out.transpose(1, 2).reshape(batch, channels, height, width)
