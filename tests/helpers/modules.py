"""Turning a fresh module, whose norms do nothing and whose layer scales are tiny, into one that a test can see."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from fastvit_cli.models.factory import create_model
from fastvit_cli.models.network import FastViT

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def randomized(module: ModuleT, seed: int = 0) -> ModuleT:
    """Give every parameter and running statistic in `module` a random value; float64, evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.data.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return module


def damped(network: FastViT) -> FastViT:
    """Kernels of variance 1 overflow after some blocks; a fixed norm for each output keeps values near 1."""
    for parameter in network.parameters():
        if parameter.ndim >= 2:
            parameter.data *= 0.7 / parameter[0].numel() ** 0.5
    return network


def random_network(variant: str, num_classes: int = 10) -> FastViT:
    """A network whose every part, norms and layer scales included, can be seen in the logits; float64."""
    return damped(randomized(create_model(variant, num_classes=num_classes)))


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    """Random float64 values of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
