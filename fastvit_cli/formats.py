"""The table of formats and engines: all that the package knows of one in general. Modules are named, not imported."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from fastvit_cli.compat import coremltools_advice
from fastvit_cli.errors import FastViTError


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program that computes networks.

    Attributes:
        name: as `--engine` takes it.
        title: what a person calls it.
        module: its `bind` makes the step that `bench` times.
        library: what must be installed beside PyTorch.
        extra: the extra of this package that installs it; None when every installation has it.
        takes: the format in which `bench` gives it a network; None for PyTorch, which takes it as it is.
    """

    name: str
    title: str
    module: str
    library: str | None = None
    extra: str | None = None
    takes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file that `export` writes: one row of the table.

    Attributes:
        name: as `--format` takes it, and the module in `exporters/` that writes it.
        title: what a person calls it.
        suffix: of the file or folder, with the dot.
        side_files: suffixes of the files beside it that belong to it.
        is_folder: it is a folder.
        is_zip: it is one of PyTorch's zip archives, where the checksum is a record of its own.
        runs_code: opening it can run code that it brings along.
        runtime: `module:class` of the runtime that opens it.
        needs: modules that must be installed to write it.
        extra: the extra of this package that installs them; None when every installation has them.
        precisions: the legal ones, the default first.
        options: fields of `ExportConfig` that not every format has and this one does.
        not_on: `sys.platform` names on which the format cannot be written.
        engine: what `--engine` calls the program that computes it; None where it has no choice.
    """

    name: str
    title: str
    suffix: str
    runtime: str
    precisions: tuple[str, ...]
    side_files: tuple[str, ...] = ()
    is_folder: bool = False
    is_zip: bool = False
    runs_code: bool = False
    needs: tuple[str, ...] = ()
    extra: str | None = None
    options: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()
    engine: Engine | None = None

    @property
    def exporter(self) -> str:
        """Module with `write`, `inspect` and, unless what loads the file is Swift, `SNIPPET`."""
        return f"fastvit_cli.exporters.{self.name}"

    def check_writable(self) -> None:
        """Refuse a format that this machine cannot write."""
        if sys.platform in self.not_on:
            raise FastViTError(f"{self.title} files cannot be written on {sys.platform}.", "Use Linux or macOS.")
        require_modules(self.needs, f"Exporting to {self.title}", self.extra)


def require_modules(names: tuple[str, ...], what: str, extra: str | None = None) -> None:
    """Refuse `what` where some of the modules are not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        install = f"Run: pip install {to_install(' '.join(missing), extra)}"
        raise FastViTError(
            f"{what} needs {' and '.join(missing)}, which this Python ({python}) does not have.",
            coremltools_advice() if missing == ["coremltools"] else install,
        )


def to_install(names: str, extra: str | None) -> str:
    """What `pip install` is given: the extra, with versions that this was tested with, else the names."""
    return names if extra is None else f"'fastvit[{extra}]'"


_ROWS = (
    Format(
        name="onnx",
        title="ONNX",
        suffix=".onnx",
        runtime="fastvit_cli.runtimes.onnx_runtime:OnnxRuntime",
        needs=("onnx", "onnxscript", "onnxruntime"),
        precisions=("fp32", "fp16", "int8"),
        options=("opset", "image_input", "debug_drift"),
        engine=Engine(
            name="onnxruntime",
            title="ONNX Runtime",
            module="fastvit_cli.runtimes.onnx_runtime",
            library="onnxruntime",
            takes="onnx",
        ),
    ),
    Format(
        name="coreml",
        title="Core ML",
        suffix=".mlpackage",
        is_folder=True,
        runtime="fastvit_cli.runtimes.coreml_evaluator:CoreMLEvaluator",
        needs=("coremltools",),
        precisions=("fp16", "fp32", "mixed"),
        options=("tensor_input", "logits", "compress", "deployment_target", "zip", "debug_drift"),
        not_on=("win32",),
        engine=Engine(
            name="coreml",
            title="Core ML",
            module="fastvit_cli.runtimes.coreml_runtime",
            library="coremltools",
            takes="coreml",
        ),
    ),
    Format(
        name="pt2",
        title="torch.export",
        suffix=".pt2",
        is_zip=True,
        runs_code=True,
        runtime="fastvit_cli.runtimes.exported_program:ExportedProgramRuntime",
        precisions=("fp32",),
    ),
    Format(
        name="torchscript",
        title="TorchScript",
        suffix=".torchscript",
        is_zip=True,
        runs_code=True,
        runtime="fastvit_cli.runtimes.torchscript_runtime:TorchScriptRuntime",
        precisions=("fp32",),
    ),
    Format(
        name="openvino",
        title="OpenVINO",
        suffix=".xml",
        side_files=(".bin",),
        runtime="fastvit_cli.runtimes.openvino_runtime:OpenVinoRuntime",
        needs=("openvino",),
        extra="openvino",
        precisions=("fp32", "fp16"),
        engine=Engine(
            name="openvino",
            title="OpenVINO",
            module="fastvit_cli.runtimes.openvino_runtime",
            library="openvino",
            extra="openvino",
            takes="onnx",
        ),
    ),
)
_PYTORCH = (
    Engine(name="torch", title="PyTorch", module="fastvit_cli.runtimes.torch_runtime"),
    Engine(name="compile", title="torch.compile", module="fastvit_cli.runtimes.compiled_runtime"),
)

FORMATS = {row.name: row for row in _ROWS}
ENGINES = {engine.name: engine for engine in (*_PYTORCH, *(row.engine for row in _ROWS)) if engine is not None}
PYTORCH = tuple(engine.name for engine in _PYTORCH)
_BY_SUFFIX = {row.suffix: row for row in _ROWS}
EXPORTED_SUFFIXES = tuple(_BY_SUFFIX)  # all other files go by their content, not their name
FOLDER_SUFFIXES = tuple(row.suffix for row in _ROWS if row.is_folder)
ZIP_SUFFIXES = tuple(row.suffix for row in _ROWS if row.is_zip)
CODE_SUFFIXES = tuple(row.suffix for row in _ROWS if row.runs_code)


def format_of(path: Path) -> Format | None:
    """The format of an exported file, by its suffix; None for weights."""
    return _BY_SUFFIX.get(path.suffix)


def engines_taking(suffix: str) -> tuple[str, ...]:
    """Those that `bench` can time an exported file of this suffix on, the default first."""
    return tuple(name for name, engine in ENGINES.items() if engine.takes == _BY_SUFFIX[suffix].name)
