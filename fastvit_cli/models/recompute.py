"""Gradient checkpointing: a block's inside is not kept for the backward pass, but computed again in it."""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """What the block makes of `x`, with the same gradients, bit for bit, and the same statistics after it."""
    from torch.utils.checkpoint import checkpoint

    out: Tensor = checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _without_statistics(block))
    )
    return out


@contextlib.contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """BatchNorms saw these images in the forward pass, and would count them twice: they count on copies."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: None if old is None else old.clone() for name, old in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
