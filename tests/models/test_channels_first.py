"""Attention as it leaves for phones and servers."""

from __future__ import annotations

import torch
from helpers.modules import images, random_network, randomized
from torch import nn

from fastvit_cli.models.channels_first import ChannelsFirstAttention, channels_first
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.modules import Attention


def test_it_computes_what_attention_computes() -> None:
    attention = randomized(Attention(64))
    x = images(2, 64, 3, 5)  # not square: rows and columns cannot be mixed up
    torch.testing.assert_close(ChannelsFirstAttention(attention)(x), attention(x))


def test_a_bias_of_the_queries_is_scaled_too() -> None:
    attention = Attention(64)
    attention.qkv = nn.Linear(64, 192)  # as the fold of a BatchNorm leaves it
    attention = randomized(attention)
    x = images(1, 64, 4, 4)
    torch.testing.assert_close(ChannelsFirstAttention(attention)(x), attention(x))


def test_a_network_is_copied_and_converted() -> None:
    network = fuse_all(random_network("sa12"))
    converted = channels_first(network)
    kinds = [type(module) for module in converted.modules()]
    assert (kinds.count(ChannelsFirstAttention), kinds.count(Attention)) == (2, 0)
    assert any(isinstance(module, Attention) for module in network.modules()), "the original is left alone"
    x = images(1, 3, 64, 64)
    torch.testing.assert_close(converted(x), network(x))
    torch.testing.assert_close(channels_first(converted)(x), converted(x))  # twice changes nothing
