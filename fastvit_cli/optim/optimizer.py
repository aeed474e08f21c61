"""Optimizers by timm's names, and what a schedule changes in them."""

from typing import Any

import torch

from fastvit_cli.errors import FastViTError, closest

# torch has one kernel a step for these optimizers (it has Adagrad's for fewer devices) ...
_FUSED_OPTIMIZERS = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
# ... on these devices; elsewhere it refuses `fused=True`.
_FUSED_DEVICES = frozenset(("cpu", "cuda", "mps"))


def build_optimizer(
    groups: list[dict[str, Any]], *, opt: str, lr: float, momentum: float = 0.9
) -> torch.optim.Optimizer:
    """The optimizer that timm calls `opt`; AdamW, Adam and SGD with torch's fused kernels.

    Args:
        groups: of parameters on their final device, each with its "weight_decay" (see `parameter_groups`).
        opt: one of `timm.optim.list_optimizers()`, in small or large letters.
        lr: learning rate of all groups; "lr_scale" acts in `set_rates`.
        momentum: for the optimizers that have one; others ignore it.

    Raises:
        FastViTError: no such optimizer, one that needs second derivatives, or one that does not start: its library
            or its GPU is missing, or it refuses the momentum.
    """
    from timm.optim import create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers

    name = opt.lower()
    names = list_optimizers()
    # timm itself takes anything that ends in a name: "no_adamw" is its AdamW.
    if name not in names:
        raise FastViTError(f"There is no optimizer '{opt}'.", f"{closest(name, names)}The names are timm's.")
    info = get_optimizer_info(name)
    if info.second_order:
        raise FastViTError(f"The optimizer '{opt}' needs second derivatives, which are not computed.", "Try 'adamw'.")
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    try:
        fused = get_optimizer_class(info, bind_defaults=False) in _FUSED_OPTIMIZERS and devices <= _FUSED_DEVICES
        more = {"fused": True} if fused else {}
        optimizer: torch.optim.Optimizer = create_optimizer_v2(groups, opt=name, lr=lr, momentum=momentum, **more)
    except (AssertionError, ImportError, ValueError) as error:
        raise FastViTError(f"The optimizer '{opt}' does not start: {error}.", "Try 'adamw'.") from error
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, lr: float, decay: float | None) -> None:
    """Set the rates of the next update.

    Args:
        optimizer: its groups change in place.
        lr: learning rate, times the "lr_scale" of the groups that have one.
        decay: weight decay of the groups that began with one; None leaves all as they are.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        # Kept in the group, hence in the saved state: a decay that has come down to 0 is not an undecayed group.
        if decay is not None and group.setdefault("initial_weight_decay", group["weight_decay"]):
            group["weight_decay"] = decay
