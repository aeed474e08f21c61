"""The formats that `export` writes, as one table. Nothing heavy is imported before a format is used."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastvit_cli.errors import FastViTError

if TYPE_CHECKING:
    from pathlib import Path

    from fastvit_cli.checkpoints.metadata import ModelInfo
    from fastvit_cli.models.network import FastViT

    # Write an all-fused network and its metadata to a path at a precision.
    Write = Callable[[FastViT, ModelInfo, Path, str], None]
    # What is wrong with a written file apart from its numbers, one sentence each.
    Inspect = Callable[[Path, ModelInfo, FastViT], tuple[str, ...]]


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table.

    Attributes:
        title: what a person calls it.
        suffix: of the file or folder, with the dot.
        module: holds `write` and `inspect` of the format.
        needs: modules that must be installed.
        precisions: the legal ones, the default first.
        max_batch_size: None where the batch is a free dimension.
        not_on: `sys.platform` names on which the format cannot be written.
    """

    title: str
    suffix: str
    module: str
    needs: tuple[str, ...]
    precisions: tuple[str, ...]
    max_batch_size: int | None = None
    not_on: tuple[str, ...] = ()

    def functions(self) -> "tuple[Write, Inspect]":
        """The format's `write` and `inspect`.

        Raises:
            FastViTError: this machine cannot write the format.
        """
        if sys.platform in self.not_on:
            raise FastViTError(f"{self.title} files cannot be written on {sys.platform}.", "Use Linux or macOS.")
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise FastViTError(
                f"Exporting to {self.title} needs {' and '.join(missing)}, which this Python "
                f"({sys.version_info.major}.{sys.version_info.minor}) does not have.",
                f"Run: pip install {' '.join(missing)}",
            )
        module = importlib.import_module(self.module)
        return module.write, module.inspect


FORMATS = {
    "onnx": ExportFormat(
        title="ONNX",
        suffix=".onnx",
        module="fastvit_cli.exporters.onnx",
        needs=("onnx", "onnxscript", "onnxruntime"),
        precisions=("fp32",),
    ),
    "coreml": ExportFormat(
        title="Core ML",
        suffix=".mlpackage",
        module="fastvit_cli.exporters.coreml",
        needs=("coremltools",),
        precisions=("fp16", "fp32"),
        max_batch_size=1,  # Core ML's image inputs have no batch dimension
        not_on=("win32",),
    ),
}
