"""Gradient clipping."""

from collections.abc import Iterable

from torch import Tensor

from fastvit_cli.errors import FastViTError, closest

CLIP_MODES = ("norm", "value", "agc")


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
    dispatch_clip_grad(parameters, largest, mode=mode)
