"""ONNX Runtime."""

import os
from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.exported import check_size, read_info, require_file, to_pixels, unreadable

_SEVERITY_ERROR = 3


class OnnxRuntime:
    """An ONNX file that `fastvit export` wrote, or the same as bytes. See `runtimes.base.Runtime`.

    Args:
        optimize: False runs the graph node by node as it is written.

    Attributes:
        device: where it really computes: CUDA when asked for and in this build of ONNX Runtime, else the CPU.

    Raises:
        FastViTError: no such file, not ONNX, or without our metadata.
    """

    engine = "onnxruntime"

    def __init__(self, model: Path | bytes, device: torch.device, optimize: bool = True) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise FastViTError("Opening an ONNX file needs onnxruntime.", "Run: pip install onnxruntime") from error
        path = model if isinstance(model, Path) else Path("in memory")
        if isinstance(model, Path):
            require_file(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SEVERITY_ERROR
        if "OMP_NUM_THREADS" in os.environ:  # the share of each of several processes, which this library overlooks
            options.intra_op_num_threads = torch.get_num_threads()
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        cuda = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        providers = [("CUDAExecutionProvider", {"device_id": device.index or 0})] if cuda else []
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[*providers, "CPUExecutionProvider"]
            )
        except Exception as error:  # its exception types are private, one for each status code
            raise unreadable(path, "ONNX", error) from error
        used = self._session.get_providers()[0]
        self.device = device if used == "CUDAExecutionProvider" else torch.device("cpu")
        self.device_name = str(self.device)
        self.info = read_info(path, dict(self._session.get_modelmeta().custom_metadata_map))
        (given,) = self._session.get_inputs()
        self._input, self._takes_pixels = given.name, given.type == "tensor(uint8)"

    def logits(self, images: Tensor) -> Tensor:
        check_size(images, self.info)
        return self.run(self.as_input(images))[0]

    def run(self, given: Tensor) -> list[Tensor]:
        """Every output of the graph, for an input as `as_input` makes it."""
        return [torch.from_numpy(value) for value in self._session.run(None, {self._input: given.numpy()})]

    def as_input(self, images: Tensor) -> Tensor:
        """Images as `Runtime.logits` takes them, as this file takes them: normalised, or uint8 (B, H, W, 3)."""
        return graph_input(images.cpu(), self.info, self._takes_pixels)


def graph_input(images: Tensor, info: ModelInfo, takes_pixels: bool) -> Tensor:
    """Images as `Runtime.logits` takes them, as an ONNX graph takes them: see `OnnxRuntime.as_input`."""
    if takes_pixels:
        return to_pixels(images, info).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return normalize(images, info).contiguous()


def trace(path: Path, images: Tensor) -> list[tuple[str, Tensor]]:
    """Type and output of every node of a file, in its order, run as it is written and not as it is optimised.

    Outputs that are no floating-point numbers are left out.

    Raises:
        FastViTError: as `OnnxRuntime`.
    """
    import onnx

    runtime = OnnxRuntime(path, torch.device("cpu"))
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    types = {value.name: value for value in model.graph.value_info if value.type.tensor_type.elem_type in floats}
    types |= {value.name: value for value in model.graph.output}
    nodes = [(node.op_type, node.output[0]) for node in model.graph.node if node.output[0] in types]
    del model.graph.output[:]
    model.graph.output.extend(types[name] for _, name in nodes)
    values = OnnxRuntime(model.SerializeToString(), torch.device("cpu"), optimize=False).run(runtime.as_input(images))
    return [(kind, value.float()) for (kind, _), value in zip(nodes, values, strict=True)]
