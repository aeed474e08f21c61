"""Which parameters are decayed."""

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay parameters of two or more dimensions - layer scales, (C, 1, 1), included - and no biases or norms.

    As the reference trains (its `param_groups` come from timm's rule of one dimension).
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
