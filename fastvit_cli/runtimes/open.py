"""Any model that a command is told to use, opened as a runtime."""

import pkgutil
from collections.abc import Callable
from pathlib import Path

import torch

from fastvit_cli.checkpoints.select import ModelSource, check_variant, load_source
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.torch_runtime import TorchRuntime


def open_source(
    source: ModelSource, device: torch.device, on_note: Callable[[str], object] | None = None, trust: bool = False
) -> Runtime:
    """Open an exported file, by its suffix, with the runtime that `formats.py` names; weights with PyTorch.

    Args:
        device: where to compute; ONNX Runtime falls back to the CPU, and the emulator always uses it.
        on_note: told what was peeled, chosen or passed over in a weights file.
        trust: open a file that can run code; nothing else runs code that a file brings along.

    Raises:
        FastViTError: no such file, one that asks for trust, not a FastViT, another variant than `--variant` names, or
            published weights that cannot be had.
    """
    path, exported = source.path, source.exported
    if path is None or exported is None:
        loaded = load_source(source)
        if on_note is not None:
            for note in loaded.notes:
                on_note(note)
        return TorchRuntime(loaded.network, loaded.info, device)
    if exported.runs_code and path.exists() and not trust:
        raise FastViTError(
            f"'{path}' is not opened unasked: any {path.suffix} file can run code on this machine when it is opened.",
            "Add --trust if you trust its author; else pass the checkpoint it was made from, or another export.",
        )
    opened: Runtime = pkgutil.resolve_name(exported.runtime)(path, device)
    check_variant(source, opened.info)
    return opened


def open_runtime(path: Path, device: torch.device, trust: bool = False) -> Runtime:
    """`open_source` of a file."""
    return open_source(ModelSource(str(path), path=path), device, trust=trust)
