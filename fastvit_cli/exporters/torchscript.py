"""TorchScript: for libtorch in C++ and for programs that load with torch.jit."""

import io
from pathlib import Path

import torch

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.exporters.check import inspect_metadata
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import add_checksum
from fastvit_cli.runtimes.quiet import quiet_libraries

SNIPPET = (
    "import torch",
    "model = torch.jit.load($path)  # files that you trust only\n"
    "output = model(torch.from_numpy(images)).detach().numpy()",
)
inspect = inspect_metadata


def write(
    network: FastViT, info: ModelInfo, path: Path, _config: ExportConfig, _calibration: Calibration | None = None
) -> tuple[str, ...]:
    """Write a traced and frozen module: normalised float32 images (batch, 3, H, W) to logits or the embedding.

    The batch size is free. The metadata is an extra file of the archive, called `fastvit`, and so is the checksum.

    Raises:
        FastViTError: the folder cannot be written.
    """
    size = info.preprocessing.img_size
    with replaced_when_done(path) as temporary, quiet_libraries(), torch.inference_mode():
        traced = torch.jit.trace(network, torch.zeros(2, 3, size, size), check_trace=False)  # our own check follows
        # By way of memory: the archive would be called as the temporary file is.
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced), buffer, _extra_files={METADATA_KEY: info.to_json()})
        temporary.write_bytes(buffer.getbuffer())
        add_checksum(temporary)
    return ()
