"""Core ML weights in fewer bits, and the operations that the mixed precision keeps in float32."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fastvit_cli.compat import mil_program
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.exporters.sensitivity import largest_change, relative_change, some_of
from fastvit_cli.formats import require_modules
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

# What sums over many values, or normalises: in float16 these lose most.
KEPT_IN_FLOAT32 = ("sub", "reduce_mean", "matmul", "softmax", "linear")

_BITS = {"palettize8": 8, "palettize6": 6, "palettize4": 4}
_BLOCK = 16  # input channels that share a scale in int4; divides the widths of every variant but ma36
_COMPUTE_WEIGHTS = ("conv", "linear")


def compute_precision(precision: str) -> Any:
    """What `coremltools.convert` takes as its compute_precision."""
    import coremltools as ct

    if precision == "mixed":
        return ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type not in KEPT_IN_FLOAT32)
    return ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32


def require_compression(compress: str) -> None:
    """Refuse what needs a library to cluster weights where it is not installed.

    Raises:
        FastViTError: the library that clusters the weights is not installed.
    """
    if compress in _BITS:
        require_modules(("sklearn",), f"--compress {compress}", "compress")


def compressed(model: Any, compress: str, runtime: TorchRuntime, calibration: Calibration) -> tuple[Any, str]:
    """A copy of a converted model with fewer bits in the weights that bear it, and in words which those are.

    Each layer is tried alone, with the very weights that coremltools makes. Those of a per-tensor table suffer where
    the norms of the channels differ much, as they do after fusing.

    Args:
        runtime: the network that the model was made from.
    """
    everywhere = _with_fewer_bits(model, compress, set())
    images = some_of(calibration.images)
    expected = runtime.logits(images)
    layers, spared, limit = _layers(everywhere), [], largest_change(compress)
    own_layers = layers_in_order(runtime.network, images.shape[-1])
    for number, (own, layer) in enumerate(zip(own_layers, layers, strict=True)):
        calibration.on_progress(number, len(layers))
        if _is_small(layer.weight):
            weight = torch.from_numpy(layer.weight.op.materialized_val_inference()).reshape_as(own.weight)
            with _weight_replaced(own, weight.to(own.weight.dtype)):
                if relative_change(runtime.logits(images), expected) > limit:
                    spared.append(number)
    names = {_layers(model)[number].weight.op.outputs[0].name for number in spared}
    result = _with_fewer_bits(model, compress, names) if names else everywhere
    return result, f"{compress}: {_count_words(_layers(result), len(spared), limit)}"


def _with_fewer_bits(model: Any, compress: str, except_for: set[str]) -> Any:
    """Without the weights of these names; small tensors stay as they are too."""
    import coremltools.optimize.coreml as cto

    bits: Any
    if compress in _BITS:
        bits = cto.OpPalettizerConfig(mode="kmeans", nbits=_BITS[compress])
    elif compress == "int8":
        bits = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    else:
        bits = cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=_BLOCK
        )
    config = cto.OptimizationConfig(global_config=bits, op_name_configs=dict.fromkeys(except_for))
    return (cto.palettize_weights if compress in _BITS else cto.linear_quantize_weights)(model, config)


def _layers(model: Any) -> list[Any]:
    """Convolutions and linear layers of a converted model, in its order."""
    (function,) = mil_program(model).functions.values()
    return [operation for operation in function.operations if operation.op_type in _COMPUTE_WEIGHTS]


def _is_small(weight: Any) -> bool:
    return weight.op is not None and weight.op.op_type.startswith("constexpr_")


def _count_words(layers: list[Any], spared: int, limit: float) -> str:
    small = [layer for layer in layers if _is_small(layer.weight)]
    numbers, all_numbers = (sum(math.prod(layer.weight.shape) for layer in some) for some in (small, layers))
    share = numbers / all_numbers
    words = f"{len(small)} of {len(layers)} layers, which hold {100 * share:.0f} % of the weights"
    if spared:
        words += (
            f"; {spared} stay as they are, for each alone would change the output by more than {100 * limit:.0f} %"
        )
    if rest := len(layers) - len(small) - spared:
        words += f"; {rest} are too small or cannot be divided"
    return words


@contextlib.contextmanager
def _weight_replaced(layer: nn.Conv2d | nn.Linear, weight: Tensor) -> Iterator[None]:
    own = layer.weight.data
    layer.weight.data = weight
    try:
        yield
    finally:
        layer.weight.data = own


@torch.inference_mode()
def layers_in_order(network: nn.Module, size: int) -> list[nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers in the order in which they compute, which is that of the package.

    Args:
        size: of the images, pixels.
    """
    layers: list[nn.Conv2d | nn.Linear] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: layers.append(layer))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return layers
