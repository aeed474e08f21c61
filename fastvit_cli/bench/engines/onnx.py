"""ONNX graphs, in ONNX Runtime and in OpenVINO."""

from pathlib import Path
from typing import Any

import torch

from fastvit_cli.bench.engines.base import Job, Prepared, Stopwatch
from fastvit_cli.bench.events import INFERENCE
from fastvit_cli.bench.onnx_profile import profile_onnx
from fastvit_cli.devices import synchronize
from fastvit_cli.errors import FastViTError, first_line
from fastvit_cli.runtimes.onnx_runtime import graph_input

_SEVERITY_ERROR = 3
# Its exception types are private, one for each status code, and so are OpenVINO's.
_FAILURES = (Exception,)
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def onnx_runtime(job: Job) -> Prepared:
    """ONNX Runtime's own session on the device, where this build of it has that, else on the CPU.

    Raises:
        FastViTError: a number type other than float32, or a graph that it refuses.
    """
    import onnxruntime

    if job.dtype != torch.float32:
        raise FastViTError("ONNX Runtime runs this graph in float32 alone")
    loading, graph = Stopwatch(), _graph(job)
    with loading.running():
        session = _session(onnxruntime, graph, job)
    on_cuda = session.get_providers()[0] == "CUDAExecutionProvider"
    device = job.device if on_cuda else torch.device("cpu")
    place, index = ("cuda", device.index or 0) if on_cuda else ("cpu", 0)
    # Bound, so that neither images nor logits travel within a step.
    binding = session.io_binding()
    given = session.get_inputs()[0]
    feed = graph_input(job.images, job.info, takes_pixels=given.type == "tensor(uint8)").numpy()
    if given.type == "tensor(float16)":
        feed = feed.astype("float16")
    binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(feed, place, index))
    for output in session.get_outputs():
        binding.bind_output(output.name, place, index)

    def step() -> None:
        session.run_with_iobinding(binding)

    def open_profiled(prefix: str) -> tuple[Any, Any]:
        options = _options(onnxruntime, job)
        options.enable_profiling, options.profile_file_prefix = True, prefix
        return _session(onnxruntime, graph, job, options), {given.name: feed}

    return Prepared(
        {INFERENCE: step},
        str(device),
        graph.stat().st_size,
        loading.nanoseconds,
        lambda: synchronize(device),
        _FAILURES,
        profile=lambda: profile_onnx(open_profiled, graph, job.label),
    )


def openvino(job: Job) -> Prepared:
    """OpenVINO on the CPU, computing in the type that was asked for.

    Raises:
        FastViTError: a graph that it refuses.
    """
    import openvino as library

    loading, graph = Stopwatch(), _graph(job)
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[job.dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    with loading.running():
        try:
            core = library.Core()
            model = core.read_model(graph)
            pixels = model.input(0).get_element_type() == library.Type.u8
            feed = graph_input(job.images, job.info, takes_pixels=pixels).numpy()
            if model.input(0).get_element_type() == library.Type.f16:
                feed = feed.astype("float16")
            model.reshape(list(feed.shape))
            request = core.compile_model(model, "CPU", options).create_infer_request()
            request.set_input_tensor(library.Tensor(feed))
        except Exception as error:  # OpenVINO passes on whatever its plugins meet
            raise FastViTError(f"OpenVINO refuses the graph ({first_line(error)})") from error
    return Prepared({INFERENCE: request.infer}, "cpu", graph.stat().st_size, loading.nanoseconds, failures=_FAILURES)


def _graph(job: Job) -> Path:
    graph = job.path or job.converted
    assert graph is not None
    return graph


def _session(library: Any, graph: Path, job: Job, options: Any = None) -> Any:
    wanted = job.device.type == "cuda" and "CUDAExecutionProvider" in library.get_available_providers()
    providers = [("CUDAExecutionProvider", {"device_id": job.device.index or 0})] if wanted else []
    options = _options(library, job) if options is None else options
    try:
        return library.InferenceSession(graph, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # see _FAILURES
        raise FastViTError(f"ONNX Runtime refuses the graph ({first_line(error)})") from error


def _options(library: Any, job: Job) -> Any:
    options = library.SessionOptions()
    options.log_severity_level = _SEVERITY_ERROR
    options.intra_op_num_threads = job.threads
    return options
