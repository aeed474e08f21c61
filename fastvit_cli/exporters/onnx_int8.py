"""Static int8 for ONNX: which layers bear it is measured and not assumed.

Only 1x1 convolutions are candidates: ONNX Runtime's depthwise kernels gain nothing from int8, and quantising every
operation makes the whole slower than float32. Layers whose error alone is large stay in float32.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastvit_cli.compat import quantize_with_ranges
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.exporters.sensitivity import largest_change, relative_change, some_of
from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime
from fastvit_cli.runtimes.quiet import quiet_libraries

if TYPE_CHECKING:
    import onnx

_FEWEST_CHANNELS = 32  # below, the conversions cost more than the multiplications save
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Candidate:
    """A 1x1 convolution, and how much the output changes when it alone is in int8."""

    node: str
    change: float


@dataclass(frozen=True)
class _Ranges:
    """Smallest and largest value of every activation over the images; measured once, then kept in the file.

    Attributes:
        runtime: the graph in float32.
        images: raw uint8 (B, 3, H, W).
    """

    runtime: OnnxRuntime
    images: Tensor
    file: Path


def quantize(model: "onnx.ModelProto", calibration: Calibration) -> tuple["onnx.ModelProto", tuple[str, ...]]:
    """The graph with the 1x1 convolutions that bear it in int8, and what was measured, in words.

    Weights are int8 with a scale for each output channel, activations uint8 with one for all.

    Args:
        model: float32.
    """
    images = calibration.images
    exact = OnnxRuntime(model.SerializeToString(), _CPU)
    with tempfile.TemporaryDirectory() as folder:
        ranges = _Ranges(exact, images, Path(folder) / "ranges.json")
        candidates = _measured(model, ranges, calibration.on_progress)
        chosen = [candidate.node for candidate in candidates if candidate.change <= largest_change("int8")]
        if not chosen:
            return model, (f"int8: none of {len(candidates)} 1x1 convolutions bears it; the file is all fp32",)
        quantized = _quantized(model, ranges, chosen)
    quantized.producer_name, quantized.producer_version = model.producer_name, model.producer_version
    quantized.doc_string = model.doc_string
    others = "; the others lost too much alone" if len(chosen) < len(candidates) else ""
    words = f"{len(chosen)} of {len(candidates)} 1x1 convolutions, calibrated on {len(images)} images{others}"
    return quantized, (f"int8: {words}",)


def _measured(model: "onnx.ModelProto", ranges: _Ranges, on_progress: Callable[[int, int], None]) -> list[_Candidate]:
    given = ranges.runtime.as_input(some_of(ranges.images))
    expected = ranges.runtime.run(given)[0]
    candidates: list[_Candidate] = []
    nodes = _pointwise(model)
    for node in nodes:
        on_progress(len(candidates), len(nodes))
        # Not optimised: computed in float32 between the roundings. The choice depends on no machine's kernels.
        alone = OnnxRuntime(_quantized(model, ranges, [node]).SerializeToString(), _CPU, optimize=False)
        candidates.append(_Candidate(node, relative_change(alone.run(given)[0], expected)))
    return candidates


def _pointwise(model: "onnx.ModelProto") -> list[str]:
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and shapes[node.input[1]][2:] == [1, 1]
        and min(shapes[node.input[1]][:2]) >= _FEWEST_CHANNELS
    ]


def _quantized(model: "onnx.ModelProto", ranges: _Ranges, nodes: list[str]) -> "onnx.ModelProto":
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._images = iter(ranges.images.split(1))

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            image = next(self._images, None)
            return None if image is None else {model.graph.input[0].name: ranges.runtime.as_input(image).numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        output = Path(folder) / "quantized.onnx"
        quantize_with_ranges(
            copy.deepcopy(model),
            output,
            Reader(),
            ranges.file,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(output)
