"""Attention without a change of layout: the form in which networks leave for phones and servers.

1x1 convolutions take the place of the linear layers, as the Neural Engine likes them, the scale of the scores is
folded into the queries, and positions stay the last dimension throughout: no transpose is left, and no arithmetic
on the shape of a batch whose size is free.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from fastvit_cli.models.modules import Attention

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ChannelsFirstAttention(nn.Module):
    """What an `Attention` computes, in evaluation mode. (B, C, H, W) to the same."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.qkv = _as_convolution(attention.qkv)
        self.proj = _as_convolution(attention.proj)
        queries = self.num_heads * self.head_dim
        with torch.no_grad():
            for parameter in self.qkv.parameters():
                parameter[:queries] = (parameter[:queries].double() * self.head_dim**-0.5).to(parameter)

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        # -1 and not the batch: the exporters would compute a free batch size from the shape, node by node.
        heads = self.qkv(x).reshape(-1, 3 * self.num_heads, self.head_dim, height * width)
        query, key, value = heads.split(self.num_heads, dim=1)  # each (B, heads, head_dim, N)
        weights = (query.transpose(2, 3) @ key).softmax(-1)
        out: Tensor = self.proj((value @ weights.transpose(2, 3)).reshape(-1, channels, height, width))
        return out


def channels_first(model: ModuleT) -> ModuleT:
    """Return a copy of `model` in evaluation mode with every `Attention` as a `ChannelsFirstAttention`."""
    converted = copy.deepcopy(model).eval()
    for module in list(converted.modules()):
        for name, child in module.named_children():
            if isinstance(child, Attention):
                setattr(module, name, ChannelsFirstAttention(child).eval())
    return converted


@torch.no_grad()
def _as_convolution(linear: nn.Linear) -> nn.Conv2d:
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None).to(linear.weight)
    conv.weight.copy_(linear.weight[:, :, None, None])
    if conv.bias is not None:
        conv.bias.copy_(linear.bias)
    return conv
