"""OpenVINO."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.exported import check_file, check_size, read_info, unreadable


class OpenVinoRuntime:
    """An `.xml` with its `.bin` that `fastvit export` wrote, on the CPU. See `runtimes.base.Runtime`.

    Raises:
        FastViTError: no such file, not OpenVINO's, without our metadata, or OpenVINO is not installed.
    """

    engine = "openvino"
    device_name = "cpu"

    def __init__(self, path: Path, _device: torch.device) -> None:
        check_file(path, "OpenVINO")
        try:
            import openvino
        except ImportError as error:
            raise FastViTError(
                "Opening an OpenVINO file needs openvino.", "Run: pip install 'fastvit[openvino]'"
            ) from error
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
