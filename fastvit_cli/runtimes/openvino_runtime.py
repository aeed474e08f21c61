"""OpenVINO."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY
from fastvit_cli.errors import FastViTError, first_line
from fastvit_cli.formats import require_modules
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch
from fastvit_cli.runtimes.exported import check_file, check_size, read_info, unreadable
from fastvit_cli.runtimes.onnx_runtime import graph_input

_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class OpenVinoRuntime:
    """An `.xml` with its `.bin` that `fastvit export` wrote, on the CPU. See `runtimes.base.Runtime`.

    Raises:
        FastViTError: no such file, not OpenVINO's, without our metadata, or OpenVINO is not installed.
    """

    engine = "openvino"
    device_name = "cpu"

    def __init__(self, path: Path, _device: torch.device) -> None:
        check_file(path, "OpenVINO")
        require_modules(("openvino",), "Opening an OpenVINO file", extra="openvino")
        import openvino

        try:
            model = openvino.Core().read_model(path)
            # float32 is what was exported; a CPU that has bfloat16 would take that.
            self._model = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except Exception as error:  # its exceptions are RuntimeErrors of the C++ side
            raise unreadable(path, "OpenVINO", error) from error
        self.device = torch.device("cpu")
        entries = {METADATA_KEY: model.get_rt_info([METADATA_KEY]).value} if model.has_rt_info([METADATA_KEY]) else {}
        self.info = read_info(path, entries)

    def logits(self, images: Tensor) -> Tensor:
        check_size(images, self.info)
        normalized = normalize(images.cpu(), self.info).contiguous().numpy()
        return torch.from_numpy(self._model(normalized)[0].copy())


def bind(job: Job) -> Bound:
    """An ONNX graph on the CPU, computing in the type that was asked for.

    Raises:
        FastViTError: a graph that it refuses.
    """
    import openvino

    loading = Stopwatch()
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[job.dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    with loading.running():
        try:
            core = openvino.Core()
            model = core.read_model(job.file)
            given = model.input(0).get_element_type()
            takes_pixels, takes_half = given == openvino.Type.u8, given == openvino.Type.f16
            feed = graph_input(job.images, job.info, takes_pixels, takes_half).numpy()
            model.reshape(list(feed.shape))
            request = core.compile_model(model, "CPU", options).create_infer_request()
            request.set_input_tensor(openvino.Tensor(feed))
        except Exception as error:  # OpenVINO passes on whatever its plugins meet
            raise FastViTError(f"OpenVINO refuses the graph ({first_line(error)})") from error
    size = job.file.stat().st_size
    return Bound((request.infer,), "cpu", size, loading.nanoseconds, failures=(Exception,))
