"""Static int8 for ONNX: which layers bear it, and whether it pays, is measured and not assumed.

Only 1x1 convolutions are candidates: ONNX Runtime's depthwise kernels gain nothing from int8, and quantising every
operation makes the whole slower than float32. Layers whose error alone is large stay in float32.
"""

import copy
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime
from fastvit_cli.runtimes.quiet import quiet_libraries

if TYPE_CHECKING:
    import onnx

SENSITIVITY_IMAGES = 64
LARGEST_ERROR_OF_A_LAYER = 0.05  # of the output's norm, when the layer alone is in int8
_TIMED_ROUNDS = 15
_FEWEST_CHANNELS = 32  # below, the conversions cost more than the multiplications save
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Candidate:
    """A 1x1 convolution, and how much the output suffers when it alone is in int8."""

    node: str
    error: float


@dataclass(frozen=True)
class _Ranges:
    """Smallest and largest value of every activation over the images; measured once, then kept in the file."""

    images: Tensor
    file: Path


def quantize(model: "onnx.ModelProto", images: Tensor) -> tuple["onnx.ModelProto", tuple[str, ...]]:
    """The graph with the 1x1 convolutions that bear it in int8, and what was measured, in words.

    Weights are int8 with a scale for each output channel, activations uint8 with one for all, calibrated on the
    images.

    Args:
        model: float32.
        images: raw uint8 (B, 3, H, W).
    """
    given = OnnxRuntime(model.SerializeToString(), _CPU).as_input(images)
    with tempfile.TemporaryDirectory() as folder:
        ranges = _Ranges(given, Path(folder) / "ranges.json")
        candidates = _measured(model, ranges)
        chosen = [candidate.node for candidate in candidates if candidate.error <= LARGEST_ERROR_OF_A_LAYER]
        if not chosen:
            return model, (f"int8: none of {len(candidates)} 1x1 convolutions bears it; the file is all fp32",)
        quantized = _quantized(model, ranges, chosen)
    quantized.producer_name, quantized.producer_version = model.producer_name, model.producer_version
    quantized.doc_string = model.doc_string
    ratio = speed_ratio(model, quantized, given[:1])
    faster = f"{ratio:.2f} times as fast as fp32 here" if ratio > 1 else "SLOWER than fp32 here, no optimisation"
    return quantized, (
        f"int8: {len(chosen)} of {len(candidates)} 1x1 convolutions, calibrated on {len(given)} images; the others "
        "lost too much alone",
        f"{faster} (ratio {ratio:.2f}, one image, interleaved)",
    )


def require_images(images: Tensor | None) -> Tensor:
    """
    Raises:
        FastViTError: there are none.
    """
    if images is None or not len(images):
        raise FastViTError("int8 needs images to calibrate with.", "Pass --data with a folder that has train/.")
    return images


def speed_ratio(one: "onnx.ModelProto", other: "onnx.ModelProto", given: Tensor) -> float:
    """Median over interleaved rounds of the time of `one` over that of `other`."""
    first, second = (OnnxRuntime(model.SerializeToString(), _CPU) for model in (one, other))
    ratios = []
    for _ in range(3 + _TIMED_ROUNDS):
        times = []
        for runtime in (first, second):
            started = time.perf_counter_ns()
            runtime.run(given)
            times.append(time.perf_counter_ns() - started)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios[3:])


def _measured(model: "onnx.ModelProto", ranges: _Ranges) -> list[_Candidate]:
    given = ranges.images[:SENSITIVITY_IMAGES]
    expected = OnnxRuntime(model.SerializeToString(), _CPU).run(given)[0]
    candidates = []
    for node in _pointwise(model):
        # Not optimised: computed in float32 between the roundings. The choice depends on no machine's kernels.
        alone = OnnxRuntime(_quantized(model, ranges, [node]).SerializeToString(), _CPU, optimize=False)
        error = (alone.run(given)[0] - expected).norm() / expected.norm()
        candidates.append(_Candidate(node, error.item()))
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
            self._batches = iter(ranges.images.split(1))

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {model.graph.input[0].name: batch.numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        output = Path(folder) / "quantized.onnx"
        quantization.quantize_static(
            copy.deepcopy(model),
            output,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            calibration_cache_path=ranges.file,
        )
        return onnx.load(output)
