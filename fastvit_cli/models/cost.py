"""What one image costs a network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from fastvit_cli.compat import counted_as, every_operation


@dataclass(frozen=True)
class Cost:
    """For one image.

    Attributes:
        params: parameters of the network.
        multiply_adds: of convolutions, linear layers and attention.
        operations: tensor operations that are launched, views not counted.
    """

    params: int
    multiply_adds: int
    operations: int


class _Counter:
    """Counts while the network runs in its `mode`, by the formulas of torch's own counter."""

    def __init__(self) -> None:
        self.operations = 0
        self.flops = 0
        self.mode = every_operation(self._count)

    def _count(self, func: Any, args: Any, kwargs: Any) -> Any:
        formula = flop_registry.get(counted_as(func.overloadpacket))
        if formula is None:
            with self.mode:  # inference mode leaves whole what elsewhere arrives in its parts: conv2d, linear, matmul
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.operations += not func.is_view
        self.flops += formula(*args, **kwargs, out_val=out) if formula else 0
        return out


@torch.no_grad()
def network_cost(network: nn.Module, img_size: int) -> Cost:
    """Count by running a copy of the network once, in evaluation mode.

    A network on the CPU runs on an empty image, which is quick; any other runs on shapes alone, so that no kernel is
    missed for want of a formula. There attention counts as its separate operations.

    Args:
        img_size: side of the input in pixels.
    """
    import copy

    counted = copy.deepcopy(network).eval()
    if next(counted.parameters()).device.type != "cpu":
        counted.to("meta")
    weight = next(counted.parameters())
    image = torch.zeros(1, 3, img_size, img_size, dtype=weight.dtype, device=weight.device)
    counter = _Counter()
    with counter.mode:
        counted(image)
    return Cost(
        params=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=counter.flops // 2,
        operations=counter.operations,
    )
