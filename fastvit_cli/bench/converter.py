"""Networks in the formats of engines that have their own."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from fastvit_cli.bench.subjects import Case
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ENGINES, FORMATS
from fastvit_cli.runtimes.bound import Job

# Write a network to a path as a Core ML package.
PackageWriter = Callable[[nn.Module, ModelInfo, Path], None]


class Converter:
    """Networks in the format of an engine that has its own, each made once: it takes longer than the timing."""

    def __init__(self, write_package: PackageWriter | None, folder: Path) -> None:
        self._write_package = write_package
        self._folder = folder
        self._made: dict[tuple[object, ...], Path] = {}

    def __call__(self, case: Case, job: Job) -> Path | None:
        """None where the engine takes the network as it is, or a file was given."""
        kind = ENGINES[case.engine].takes
        if job.network is None or kind is None:
            return None
        key = (kind, case.subject.name, id(case.subject), case.fuse, job.info.preprocessing.img_size)
        if key not in self._made:
            self._made[key] = self._convert(kind, job)
        return self._made[key]

    def _convert(self, kind: str, job: Job) -> Path:
        from fastvit_cli.models.network import FastViT
        from fastvit_cli.runtimes.onnx_conversion import to_onnx

        assert isinstance(job.network, FastViT)
        path = self._folder / f"{len(self._made)}{FORMATS[kind].suffix}"
        if kind == "coreml":
            if self._write_package is None:
                raise FastViTError("nothing here writes Core ML packages")
            self._write_package(job.network, job.info, path)
            return path
        with torch.inference_mode(False):  # the exporter records autograd's view of the network
            path.write_bytes(to_onnx(job.network, job.info).SerializeToString())
        return path
