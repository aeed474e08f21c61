"""What one image costs a network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


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


class _OperationCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def network_cost(network: nn.Module, img_size: int) -> Cost:
    """Count by running the network once on shapes alone; no arithmetic is done.

    Args:
        img_size: side of the input in pixels.
    """
    import copy

    shapes = copy.deepcopy(network).to("meta").eval()
    image = torch.empty(1, 3, img_size, img_size, device="meta")
    operations = _OperationCounter()
    with operations:
        shapes(image)
    with FlopCounterMode(display=False) as flops:
        shapes(image)
    return Cost(
        params=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=flops.get_total_flops() // 2,
        operations=operations.count,
    )
