"""torch.export: the traced program with its weights, for C++ by AOTInductor and for Python without this package."""

import io
from pathlib import Path

import torch

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import conversion_failed
from fastvit_cli.exporters.check import inspect_metadata
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import add_checksum
from fastvit_cli.runtimes.quiet import quiet_libraries

SNIPPET = (
    "import torch",
    "model = torch.export.load($path).module()  # files that you trust only\n"
    "output = model(torch.from_numpy(images)).detach().numpy()",
)
inspect = inspect_metadata


def write(
    network: FastViT, info: ModelInfo, path: Path, _config: ExportConfig, _calibration: Calibration | None = None
) -> tuple[str, ...]:
    """Write a `.pt2` archive: normalised float32 images (batch, 3, H, W) to logits or the embedding.

    The batch size is free. The metadata is an extra file of the archive, called `fastvit`, and so is the checksum.

    Raises:
        FastViTError: the folder cannot be written.
        WorkFailedError: PyTorch's exporter failed.
    """
    size = info.preprocessing.img_size
    example = torch.zeros(2, 3, size, size)  # 2: torch.export takes a batch of 1 for a constant
    with replaced_when_done(path) as temporary, quiet_libraries():
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:  # see `conversion_failed`
            raise conversion_failed("PyTorch could not export the network", error) from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it holds the paths of this machine
        # By way of memory: the archive would be called as the temporary file is.
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={METADATA_KEY: info.to_json()})
        temporary.write_bytes(buffer.getbuffer())
        add_checksum(temporary)
    return ()
