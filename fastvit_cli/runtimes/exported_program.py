"""Programs of torch.export."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY
from fastvit_cli.devices import describe_device
from fastvit_cli.runtimes.exported import check_file, module_logits, read_info, unreadable
from fastvit_cli.runtimes.quiet import quiet_libraries


class ExportedProgramRuntime:
    """A `.pt2` file that `fastvit export` wrote. See `runtimes.base.Runtime`.

    It is opened by `torch.export.load`, which is made for files that one trusts.

    Raises:
        FastViTError: no such file, no exported program, or without our metadata.
    """

    engine = "torch.export"

    def __init__(self, path: Path, device: torch.device) -> None:
        check_file(path, "torch.export")
        extra = {METADATA_KEY: ""}
        try:
            with quiet_libraries():
                program = torch.export.load(path, extra_files=extra)
                self._module = program.module().to(device)
        except Exception as error:  # whatever the archive's parsers meet
            raise unreadable(path, "torch.export", error) from error
        self.info = read_info(path, {key: value for key, value in extra.items() if value})
        self.device = device
        self.device_name = describe_device(device)

    def logits(self, images: Tensor) -> Tensor:
        return module_logits(self._module, images, self.info, self.device)
