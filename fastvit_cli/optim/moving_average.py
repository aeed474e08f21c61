"""The moving average of the weights."""

import torch
from torch import Tensor, nn

from fastvit_cli.compat import copy_all


class MovingAverage:
    """timm's average of all that a network's state has, in one launch for all tensors of a kind.

    timm itself makes two state dicts a step and copies BatchNorm's counters one by one. The network's tensors must
    stay the same ones.

    Args:
        decay: of the average, after a warm-up: one of .9995 would still hold its random start after a short run.

    Attributes:
        module: a network with the average, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        from timm.utils import ModelEmaV3

        self._timm = ModelEmaV3(network, decay, use_warmup=True)
        self.module: nn.Module = self._timm.module
        pairs = list(zip(self.module.state_dict().values(), network.state_dict().values(), strict=True))
        self._averages, self._weights = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self._copies, self._counters = _columns([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def update(self, step: int, made: Tensor | None = None) -> None:
        """Take the network in as it is now.

        Args:
            step: updates before this one, which its warm-up goes by.
            made: a scalar on the device, 0 where this update was left out, which only the device knows.
        """
        weight = 1.0 - self._timm.get_decay(step)
        if made is None:
            torch._foreach_lerp_(self._averages, self._weights, weight=weight)
        else:
            change = torch._foreach_sub(self._weights, self._averages)
            torch._foreach_mul_(change, made * weight)
            torch._foreach_add_(self._averages, change)
        if self._copies:
            copy_all(self._copies, self._counters)


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
