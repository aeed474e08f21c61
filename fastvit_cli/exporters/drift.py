"""Where an exported file leaves PyTorch: layer by layer, on one image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.base import normalize

_KINDS: dict[str, tuple[type[nn.Module], ...]] = {"conv": (nn.Conv2d,), "gelu": (nn.GELU,), "linear": (nn.Linear,)}


@dataclass(frozen=True)
class LayerDrift:
    """How far a layer's output is from PyTorch's.

    Attributes:
        name: of the module in the network.
        kind: conv, gelu or linear.
        error: largest difference, as a share of the layer's largest value; infinite for what is not a number.
    """

    name: str
    kind: str
    error: float


def layer_drifts(path: Path, network: FastViT, info: ModelInfo, image: Tensor) -> list[LayerDrift]:
    """Compare each convolution, GELU and linear layer of a written file with the network it was made from.

    The layers of a kind follow each other in the file as they do in the network. A kind that the file has none of is
    left out: before opset 20, a GELU is several operations.

    Args:
        network: as it was converted, all fused.
        image: raw uint8 (1, 3, H, W).
    """
    found = {kind: iter(values) for kind, values in _of_file(path, image).items() if values}
    drifts = []
    for name, kind, expected in _of_network(network, normalize(image, info)):
        if kind not in found:
            continue
        value = next(found[kind], None)
        if value is None or value.numel() != expected.numel():
            error = float("inf")  # an operation is missing, or another one stands here
        else:
            difference = (value.reshape(expected.shape) - expected).abs().max()
            error = torch.nan_to_num(difference / expected.abs().max(), nan=float("inf")).item()
        drifts.append(LayerDrift(name, kind, error))
    return drifts


def describe_drift(drifts: list[LayerDrift], allowed: float) -> str:
    """One sentence: the first layer beyond `allowed`, a share of its largest value, and the last good one before."""
    for number, layer in enumerate(drifts):
        if not layer.error <= allowed:
            before = f"after {drifts[number - 1].name} ({drifts[number - 1].error:.2g})" if number else "at once"
            return f"first at {layer.name} ({layer.kind}): {layer.error:.2g} of its largest value, {before}"
    worst = max(drifts, key=lambda layer: layer.error)
    return (
        f"none of {len(drifts)} layers differs by more than {allowed:.2g} of its largest value; "
        f"the most, {worst.error:.2g}, at {worst.name}"
    )


@torch.inference_mode()
def _of_network(network: FastViT, images: Tensor) -> list[tuple[str, str, Tensor]]:
    """Name, kind and output of every layer, in the order in which they are computed."""
    outputs: list[tuple[str, str, Tensor]] = []
    hooks = []
    for name, module in network.named_modules():
        kind = next((kind for kind, types in _KINDS.items() if isinstance(module, types)), None)
        if kind is not None:

            def note(_m: nn.Module, _i: object, out: Tensor, name: str = name, kind: str = kind) -> None:
                outputs.append((name, kind, out))

            hooks.append(module.register_forward_hook(note))
    network(images)
    for hook in hooks:
        hook.remove()
    return outputs


def _of_file(path: Path, image: Tensor) -> dict[str, list[Tensor]]:
    """Outputs of every operation of those kinds, in the order of the file."""
    outputs: dict[str, list[Tensor]] = {kind: [] for kind in _KINDS}
    for operation, value in _trace(path, image):
        kind = {"gemm": "linear"}.get(operation.lower(), operation.lower())
        if kind in outputs:
            outputs[kind].append(value)
    return outputs


def _trace(path: Path, image: Tensor) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".mlpackage":
        from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

        return iter(CoreMLEvaluator(path).trace(image))
    from fastvit_cli.runtimes.onnx_runtime import trace

    return iter(trace(path, image))
