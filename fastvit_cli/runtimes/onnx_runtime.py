"""ONNX Runtime."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.exported import check_size, read_info, require_file, unreadable

_SEVERITY_ERROR = 3


class OnnxRuntime:
    """An ONNX file that `fastvit export` wrote, or the same as bytes. See `runtimes.base.Runtime`.

    Attributes:
        device: where it really computes: CUDA when asked for and in this build of ONNX Runtime, else the CPU.

    Raises:
        FastViTError: no such file, not ONNX, or without our metadata.
    """

    engine = "onnxruntime"

    def __init__(self, model: Path | bytes, device: torch.device) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise FastViTError("Opening an ONNX file needs onnxruntime.", "Run: pip install onnxruntime") from error
        path = model if isinstance(model, Path) else Path("in memory")
        if isinstance(model, Path):
            require_file(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SEVERITY_ERROR
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
        self._input = self._session.get_inputs()[0].name

    def logits(self, images: Tensor) -> Tensor:
        check_size(images, self.info)
        normalized = normalize(images.cpu(), self.info).contiguous().numpy()
        return torch.from_numpy(self._session.run(None, {self._input: normalized})[0])
