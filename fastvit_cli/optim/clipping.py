"""Gradient clipping."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from fastvit_cli.compat import copy_all
from fastvit_cli.errors import FastViTError, closest

CLIP_MODES = ("norm", "value", "agc")
_LEAST_NORM = 1e-3  # of the weights of a unit, so that those that begin at zero can learn


def clip_gradients(parameters: Iterable[Tensor], largest: float, mode: str) -> None:
    """Clip the gradients in place (timm's `dispatch_clip_grad`); parameters without one are passed over.

    Args:
        parameters: whose gradients are clipped together. For agc leave the classifier out, as its paper does.
        largest: by mode, "norm": of the 2-norm of all gradients together; "value": of any one value;
            "agc": of a unit's gradient norm relative to its weights' norm (arXiv 2102.06171, section 4).

    Raises:
        FastViTError: no such mode.
    """
    from timm.utils import dispatch_clip_grad

    if mode not in CLIP_MODES:
        raise FastViTError(
            f"There is no clip mode '{mode}'.", f"{closest(mode, CLIP_MODES)}There are {', '.join(CLIP_MODES)}."
        )
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if mode == "agc" and any(parameter.device.type != "cpu" for parameter in trained):
        _clip_adaptively(trained, largest)
    else:
        dispatch_clip_grad(trained, largest, mode=mode)


@torch.no_grad()
def _clip_adaptively(parameters: list[Tensor], largest: float) -> None:
    """timm's `adaptive_clip_grad`, but units of one length together: it launches ten kernels for each parameter.

    For devices alone: another order of adding up may change the last bit.
    """
    by_length: dict[int, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        by_length[parameter[0].numel() if parameter.ndim > 1 else parameter.numel()].append(parameter)
    for length, group in by_length.items():
        gradients = [parameter.grad for parameter in group if parameter.grad is not None]
        rows = torch.cat([gradient.reshape(-1, length) for gradient in gradients])
        weights = torch.cat([parameter.reshape(-1, length) for parameter in group])
        allowed = weights.norm(dim=1, keepdim=True).clamp_(min=_LEAST_NORM).mul_(largest)
        norms = rows.norm(dim=1, keepdim=True)
        clipped = torch.where(norms < allowed, rows, rows * (allowed / norms.clamp(min=1e-6)))
        parts = clipped.split([gradient.numel() // length for gradient in gradients])
        copy_all(gradients, [part.view_as(old) for part, old in zip(parts, gradients, strict=True)])
