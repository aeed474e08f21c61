"""ONNX Runtime."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY, OTHER_VARIANT, ModelInfo
from fastvit_cli.devices import synchronize
from fastvit_cli.errors import FastViTError, first_line
from fastvit_cli.formats import require_modules
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch
from fastvit_cli.runtimes.exported import check_file, check_size, missing_weights, read_info, to_pixels, unreadable
from fastvit_cli.runtimes.onnx_profile import profile_onnx

_SEVERITY_ERROR = 3
_CUDA = "CUDAExecutionProvider"
_FLOATS = ("tensor(float)", "tensor(float16)")
_ANY_SIZE = 256  # of a graph that takes images of any


def open_session(model: Path | bytes, device: torch.device, optimize: bool = True) -> Any:
    """ONNX Runtime's session of a file, or of the same as bytes.

    Raises:
        FastViTError: no such file, not ONNX, without its weights, or damaged.
    """
    require_modules(("onnxruntime",), "Opening an ONNX file")
    import onnxruntime

    if isinstance(model, Path):
        check_file(model, "ONNX")
    options = onnxruntime.SessionOptions()
    if "OMP_NUM_THREADS" in os.environ:  # the share of each of several processes, which this library overlooks
        options.intra_op_num_threads = torch.get_num_threads()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return _started(model, device, options)
    except Exception as error:  # its exception types are private, one for each status code
        if isinstance(model, Path) and (missing := _missing_weights(model)) is not None:
            raise missing_weights(model, missing) from error
        raise unreadable(_named(model), "ONNX", error) from error


def _started(model: Path | bytes, device: torch.device, options: Any) -> Any:
    import onnxruntime

    options.log_severity_level = _SEVERITY_ERROR
    cuda = device.type == "cuda" and _CUDA in onnxruntime.get_available_providers()
    providers = [(_CUDA, {"device_id": device.index or 0})] if cuda else []
    with contextlib.redirect_stdout(sys.stderr):  # it prints there that it tries again
        return onnxruntime.InferenceSession(model, options, providers=[*providers, "CPUExecutionProvider"])


def _named(model: Path | bytes) -> Path:
    return model if isinstance(model, Path) else Path("in memory")


def _missing_weights(path: Path) -> str | None:
    """A file that holds weights of the graph and is not there."""
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception:  # no ONNX at all
        return None
    names = {item.value for tensor in graph.initializer for item in tensor.external_data if item.key == "location"}
    return next((name for name in sorted(names) if not (path.parent / name).exists()), None)


def _only_input(path: Path, session: Any) -> Any:
    """The input of a graph that has one.

    Raises:
        FastViTError: there are several.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise FastViTError(
            f"'{path}' takes {len(inputs)} inputs, and a FastViT takes one: images.",
            "Pass a model as `fastvit export` writes it.",
        )
    return inputs[0]


class OnnxRuntime:
    """An ONNX file that `fastvit export` wrote, or the same as bytes. See `runtimes.base.Runtime`.

    Args:
        optimize: False runs the graph node by node as it is written.

    Attributes:
        device: where it really computes: CUDA when asked for and in this build of ONNX Runtime, else the CPU.

    Raises:
        FastViTError: as `open_session`, without our metadata, or of several inputs.
    """

    engine = "onnxruntime"

    def __init__(self, model: Path | bytes, device: torch.device, optimize: bool = True) -> None:
        self._session = open_session(model, device, optimize)
        used = self._session.get_providers()[0]
        self.device = device if used == _CUDA else torch.device("cpu")
        self.device_name = str(self.device)
        self.info = read_info(_named(model), dict(self._session.get_modelmeta().custom_metadata_map))
        given = _only_input(_named(model), self._session)
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


def graph_input(images: Tensor, info: ModelInfo, takes_pixels: bool, takes_half: bool = False) -> Tensor:
    """Images as `Runtime.logits` takes them, as an ONNX graph takes them: see `OnnxRuntime.as_input`."""
    if takes_pixels:
        return to_pixels(images, info).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    normalized = normalize(images, info).contiguous()
    return normalized.half() if takes_half else normalized


def graph_info(path: Path) -> ModelInfo:
    """What a file says of itself: all that it takes to time it, which is little.

    Of a graph of another program that is its image size (256 where any will do) and its number of classes.

    Raises:
        FastViTError: as `open_session`, or no graph of one batch of images (batch, 3, H, W), floats, H and W alike.
    """
    session = open_session(path, torch.device("cpu"))
    properties = dict(session.get_modelmeta().custom_metadata_map)
    given = _only_input(path, session)
    if METADATA_KEY in properties:
        return read_info(path, properties)
    channels, *sides = given.shape[1:] if len(given.shape) == 4 else [None]
    fixed = {side for side in sides if isinstance(side, int)}
    if given.type not in _FLOATS or channels != 3 or len(fixed) > 1:
        shape = ", ".join(map(str, given.shape))
        raise FastViTError(
            f"'{path}' takes {given.type} of ({shape}), not float images of (batch, 3, H, W) with H and W alike.",
            "Pass another model, or the checkpoint that it was made from.",
        )
    shape = session.get_outputs()[0].shape
    classes = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
    return ModelInfo(OTHER_VARIANT, "all", classes, Preprocessing(img_size=min(fixed, default=_ANY_SIZE)))


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


def bind(job: Job) -> Bound:
    """A session on the device, where this build of ONNX Runtime has that, else on the CPU.

    Raises:
        FastViTError: a number type other than float32, or a graph that it refuses.
    """
    import onnxruntime

    if job.dtype != torch.float32:
        raise FastViTError("ONNX Runtime runs this graph in float32 alone")

    def start(profile_prefix: str | None = None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        if profile_prefix is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile_prefix
        try:
            return _started(job.file, job.device, options)
        except Exception as error:  # see `open_session`
            raise FastViTError(f"ONNX Runtime refuses the graph ({first_line(error)})") from error

    loading = Stopwatch()
    with loading.running():
        session = start()
    on_cuda = session.get_providers()[0] == _CUDA
    device = job.device if on_cuda else torch.device("cpu")
    place, index = ("cuda", device.index or 0) if on_cuda else ("cpu", 0)
    # Bound, so that neither images nor logits travel within a step.
    binding = session.io_binding()
    given = session.get_inputs()[0]
    takes_pixels, takes_half = given.type == "tensor(uint8)", given.type == "tensor(float16)"
    feed = graph_input(job.images, job.info, takes_pixels, takes_half).numpy()
    binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(feed, place, index))
    for output in session.get_outputs():
        binding.bind_output(output.name, place, index)

    def step() -> None:
        session.run_with_iobinding(binding)

    return Bound(
        (step,),
        str(device),
        job.file.stat().st_size,
        loading.nanoseconds,
        lambda: synchronize(device),
        (Exception,),  # see `open_session`
        profile=lambda: profile_onnx(lambda prefix: (start(prefix), {given.name: feed}), job.file, job.label),
    )
