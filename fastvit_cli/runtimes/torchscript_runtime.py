"""TorchScript."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY
from fastvit_cli.devices import describe_device
from fastvit_cli.runtimes.exported import check_file, module_logits, read_info, unreadable
from fastvit_cli.runtimes.quiet import quiet_libraries


class TorchScriptRuntime:
    """A `.torchscript` file that `fastvit export` wrote. See `runtimes.base.Runtime`.

    It is opened by `torch.jit.load`: the program inside is TorchScript's own code, which is made for files that one
    trusts.

    Raises:
        FastViTError: no such file, no TorchScript, or without our metadata.
    """

    engine = "torchscript"

    def __init__(self, path: Path, device: torch.device) -> None:
        check_file(path, "TorchScript")
        extra = {METADATA_KEY: ""}
        try:
            with quiet_libraries():
                self._module = torch.jit.load(path, map_location=device, _extra_files=extra)
        except Exception as error:  # whatever the archive's parsers meet
            raise unreadable(path, "TorchScript", error) from error
        texts = {key: value.decode() if isinstance(value, bytes) else value for key, value in extra.items()}
        self.info = read_info(path, {key: value for key, value in texts.items() if value})
        self.device = device
        self.device_name = describe_device(device)

    def logits(self, images: Tensor) -> Tensor:
        return module_logits(self._module, images, self.info, self.device)
