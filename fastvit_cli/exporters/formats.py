"""The formats that `export` writes, as one table. Nothing heavy is imported before a format is used."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastvit_cli.compat import coremltools_advice
from fastvit_cli.errors import FastViTError

if TYPE_CHECKING:
    from pathlib import Path

    from fastvit_cli.checkpoints.metadata import ModelInfo
    from fastvit_cli.exporters.export_options import ExportConfig
    from fastvit_cli.exporters.outputs import Calibration
    from fastvit_cli.models.network import FastViT

    # Write an all-fused, channels-first network and its metadata to a path.
    # Returns what is worth knowing of what was done, one sentence each.
    Write = Callable[[FastViT, ModelInfo, Path, ExportConfig, Calibration | None], tuple[str, ...]]
    # What is wrong with a written file apart from its numbers, one sentence each.
    Inspect = Callable[[Path, ModelInfo, FastViT, ExportConfig], tuple[str, ...]]


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table.

    Attributes:
        title: what a person calls it.
        suffix: of the file or folder, with the dot.
        module: holds `write` and `inspect` of the format.
        needs: modules that must be installed.
        extra: the extra of this package that installs them; None when every installation has them.
        precisions: the legal ones, the default first.
        options: fields of `ExportConfig` that not every format has and this one does.
        not_on: `sys.platform` names on which the format cannot be written.
    """

    title: str
    suffix: str
    module: str
    needs: tuple[str, ...]
    precisions: tuple[str, ...]
    extra: str | None = None
    options: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()

    def functions(self) -> "tuple[Write, Inspect]":
        """The format's `write` and `inspect`.

        Raises:
            FastViTError: this machine cannot write the format.
        """
        if sys.platform in self.not_on:
            raise FastViTError(f"{self.title} files cannot be written on {sys.platform}.", "Use Linux or macOS.")
        require_modules(self.needs, f"Exporting to {self.title}", self.extra)
        module = importlib.import_module(self.module)
        return module.write, module.inspect


def require_modules(names: tuple[str, ...], what: str, extra: str | None) -> None:
    """
    Raises:
        FastViTError: some of the modules are not installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        install = f"Run: pip install {' '.join(missing) if extra is None else repr(f'fastvit[{extra}]')}"
        raise FastViTError(
            f"{what} needs {' and '.join(missing)}, which this Python ({python}) does not have.",
            coremltools_advice() if missing == ["coremltools"] else install,
        )


FORMATS = {
    "onnx": ExportFormat(
        title="ONNX",
        suffix=".onnx",
        module="fastvit_cli.exporters.onnx",
        needs=("onnx", "onnxscript", "onnxruntime"),
        precisions=("fp32", "fp16", "int8"),
        options=("opset", "image_input", "debug_drift"),
    ),
    "coreml": ExportFormat(
        title="Core ML",
        suffix=".mlpackage",
        module="fastvit_cli.exporters.coreml",
        needs=("coremltools",),
        precisions=("fp16", "fp32", "mixed"),
        options=("tensor_input", "logits", "compress", "deployment_target", "zip", "debug_drift"),
        not_on=("win32",),
    ),
    "pt2": ExportFormat(
        title="torch.export",
        suffix=".pt2",
        module="fastvit_cli.exporters.pt2",
        needs=(),
        precisions=("fp32",),
    ),
    "torchscript": ExportFormat(
        title="TorchScript",
        suffix=".torchscript",
        module="fastvit_cli.exporters.torchscript",
        needs=(),
        precisions=("fp32",),
    ),
    "openvino": ExportFormat(
        title="OpenVINO",
        suffix=".xml",
        module="fastvit_cli.exporters.openvino",
        needs=("openvino",),
        precisions=("fp32", "fp16"),
        extra="openvino",
    ),
}


@dataclass(frozen=True)
class FormatRow:
    """A row of `export --list`.

    Attributes:
        available: this machine can write the format now.
        install: the pip command for what is missing; None when nothing is, or nothing can be done here.
    """

    name: str
    title: str
    suffix: str
    precisions: tuple[str, ...]
    options: tuple[str, ...]
    platforms: str
    extra: str | None
    available: bool
    install: str | None


@dataclass(frozen=True)
class FormatList:
    """What `export --list` shows."""

    formats: tuple[FormatRow, ...]


def list_formats() -> FormatList:
    """The table, as it holds on this machine."""
    return FormatList(tuple(_row(name, target) for name, target in FORMATS.items()))


def _row(name: str, target: ExportFormat) -> FormatRow:
    available, install = sys.platform not in target.not_on, None
    try:
        require_modules(target.needs, target.title, target.extra)
    except FastViTError as error:
        command = error.hint.removeprefix("Run: ")
        available, install = False, None if command == error.hint else command  # there may be none for this machine
    return FormatRow(
        name=name,
        title=target.title,
        suffix=target.suffix,
        precisions=target.precisions,
        options=tuple("--" + option.replace("_", "-") for option in target.options),
        platforms="Linux, macOS" if "win32" in target.not_on else "any",
        extra=target.extra,
        available=available,
        install=install,
    )
