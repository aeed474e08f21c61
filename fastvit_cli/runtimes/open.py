"""Any file that holds a FastViT, opened as a runtime."""

from collections.abc import Callable
from pathlib import Path

import torch

from fastvit_cli.checkpoints.select import ModelSource, check_variant, load_source
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.exported import CODE_SUFFIXES


def open_runtime(
    path: Path,
    device: torch.device,
    prefer_ema: bool = True,
    ckpt_key: str | None = None,
    on_note: Callable[[str], object] | None = None,
    trust: bool = False,
) -> Runtime:
    """Open weights with PyTorch, an exported file by its suffix: `.onnx` with ONNX Runtime, `.mlpackage` with the
    emulator, `.xml` with OpenVINO, `.pt2` and `.torchscript` with PyTorch.

    Args:
        device: where to compute; ONNX Runtime falls back to the CPU, and the emulator always uses it.
        prefer_ema: take the EMA weights where a weights file holds both.
        ckpt_key: the name of the network in a weights file that holds several.
        on_note: told what was peeled, chosen or passed over in a weights file.
        trust: open a file of `CODE_SUFFIXES`; nothing else runs code that a file brings along.

    Raises:
        FastViTError: no such file, one that asks for trust, or not a FastViT.
    """
    if path.suffix in CODE_SUFFIXES and path.exists() and not trust:
        raise FastViTError(
            f"'{path}' is not opened unasked: any {path.suffix} file can run code on this machine when it is opened.",
            "Add --trust if you trust its author; else pass the checkpoint it was made from, or another export.",
        )
    if path.suffix == ".onnx":
        from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path, device)
    if path.suffix == ".mlpackage":
        from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

        return CoreMLEvaluator(path)
    if path.suffix == ".pt2":
        from fastvit_cli.runtimes.exported_program import ExportedProgramRuntime

        return ExportedProgramRuntime(path, device)
    if path.suffix == ".torchscript":
        from fastvit_cli.runtimes.torchscript_runtime import TorchScriptRuntime

        return TorchScriptRuntime(path, device)
    if path.suffix == ".xml":
        from fastvit_cli.runtimes.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(path, device)
    from fastvit_cli.checkpoints.load import load_checkpoint
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

    loaded = load_checkpoint(path, prefer_ema, ckpt_key)
    if on_note is not None:
        for note in loaded.notes:
            on_note(note)
    return TorchRuntime(loaded.network, loaded.info, device)


def open_source(
    source: ModelSource, device: torch.device, on_note: Callable[[str], object] | None = None, trust: bool = False
) -> Runtime:
    """Open whatever a command was told to use: a file as `open_runtime`, anything else with PyTorch.

    Raises:
        FastViTError: as `open_runtime`, or published weights that cannot be had.
    """
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

    if source.path is not None:
        runtime = open_runtime(source.path, device, source.prefer_ema, source.ckpt_key, on_note, trust)
        check_variant(source, runtime.info)
        return runtime
    loaded = load_source(source)
    return TorchRuntime(loaded.network, loaded.info, device)
