"""TorchScript: for libtorch in C++ and for programs that load with torch.jit."""

import io
from pathlib import Path

import torch

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.exporters.config import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.quiet import quiet_libraries

_SOURCES = ".debug_pkl"
_OWN_ID = ".data/serialization_id"  # the writer of an archive makes it of what it wrote


def write(
    network: FastViT, info: ModelInfo, path: Path, _config: ExportConfig, _calibration: Calibration | None = None
) -> tuple[str, ...]:
    """Write a traced and frozen module: normalised float32 images (batch, 3, H, W) to logits or the embedding.

    The batch size is free. The metadata is an extra file of the archive, called `fastvit`.

    Raises:
        FastViTError: the folder cannot be written.
    """
    size = info.preprocessing.img_size
    with replaced_when_done(path) as temporary, quiet_libraries(), torch.inference_mode():
        traced = torch.jit.trace(network, torch.zeros(2, 3, size, size), check_trace=False)  # our own check follows
        # By way of memory: the archive would be called as the temporary file is.
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced), buffer, _extra_files={METADATA_KEY: info.to_json()})
        temporary.write_bytes(_without_sources(buffer))
    return ()


def _without_sources(archive: io.BytesIO) -> bytes:
    """The same archive without the records that say which line of which file of this machine an operation is of."""
    archive.seek(0)
    copy = io.BytesIO()
    reader, writer = torch._C.PyTorchFileReader(archive), torch._C.PyTorchFileWriter(copy)
    for name in reader.get_all_records():
        if not name.endswith(_SOURCES) and name != _OWN_ID:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return copy.getvalue()


def inspect(path: Path, info: ModelInfo, _network: FastViT, _config: ExportConfig) -> tuple[str, ...]:
    """What is wrong with the file apart from its numbers; empty when nothing is."""
    from fastvit_cli.runtimes.torchscript_runtime import TorchScriptRuntime

    found = TorchScriptRuntime(path, torch.device("cpu")).info
    return () if found.to_json() == info.to_json() else ("the metadata is not what was written",)
