"""Which parameters are decayed, and which learn slower."""

from typing import Any

from torch import nn

from fastvit_cli.models.modules import LayerScale

_PARTS = ("stem", "stages", "final_conv", "head")


def parameter_groups(
    network: nn.Module,
    weight_decay: float,
    *,
    decay_layer_scale: bool = True,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Decay parameters of two or more dimensions - layer scales, (C, 1, 1), included - and no biases or norms.

    As the reference trains (its `param_groups` come from timm's rule of one dimension).

    Args:
        network: a `FastViT` or `FastViTFeatures`, in any form; its frozen parameters are left out.
        weight_decay: of the decayed groups.
        decay_layer_scale: False leaves layer scales undecayed.
        layer_decay: learning rate of a layer relative to that of the next one (BEiT, arXiv 2106.08254,
            appendix). Layers are the stem, each downsampling (with the positional encoding behind it), each block,
            the final convolution and the head. Frozen ones count too, so that freezing changes no rate. timm counts
            a downsampling with the block behind it and the final convolution with the head.

    Returns:
        Groups for an optimizer, none empty: the decayed before the undecayed, parameters in the network's order.
        With `layer_decay` that pair for every layer from the stem on, each with "lr_scale", which is 1 in the last.

    Raises:
        ValueError: `layer_decay` was asked of something that has no FastViT's parameter names.
    """
    layer_scales = {id(module.gamma) for module in network.modules() if isinstance(module, LayerScale)}
    names = [name for name, _ in network.named_parameters()]
    layers = dict.fromkeys(names, (0, 0, 0)) if layer_decay is None else {name: _layer(name) for name in names}
    order = sorted(set(layers.values()))
    # The order of the keys is that of the groups: a saved state fits only the same order.
    groups: dict[tuple[tuple[int, int, int], bool], dict[str, Any]] = {}
    for depth, layer in enumerate(order):
        scale = {} if layer_decay is None else {"lr_scale": layer_decay ** (len(order) - 1 - depth)}
        groups[layer, True] = {"params": [], "weight_decay": weight_decay, **scale}
        groups[layer, False] = {"params": [], "weight_decay": 0.0, **scale}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= 2 and (decay_layer_scale or id(parameter) not in layer_scales)
            groups[layers[name], decayed]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _layer(name: str) -> tuple[int, int, int]:
    """The layer that the parameter `name` belongs to: part, stage, and 0 or 1 + the block; sorts by depth."""
    parts = name.split(".")
    if parts[0] not in _PARTS:
        raise ValueError(f"'{name}' is no parameter of a FastViT.")
    if parts[0] != "stages":
        return _PARTS.index(parts[0]), 0, 0
    return _PARTS.index("stages"), int(parts[1]), 1 + int(parts[3]) if parts[2] == "blocks" else 0
