"""Which program computes a model: the file's own, the one that was asked for, or the fastest that is right."""

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ENGINES, FORMATS

if TYPE_CHECKING:  # the names below are options of commands, whose help must not load torch
    from fastvit_cli.runtimes.base import Runtime
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

AUTO, TORCH, COMPILE, ONNXRUNTIME, COREML = "auto", "torch", "compile", "onnxruntime", "coreml"

# Total multiply-adds above which converting to ONNX pays off: about 1,500 images of
# t8 at 256 px. On two AVX-512 cores the graph took as long as 370 (busy machine) to 750 images (idle) in PyTorch.
_REPAYS_CONVERSION = 1.0e12


@dataclass(frozen=True)
class Chosen:
    """A model on an engine.

    Attributes:
        reason: why this engine, and how what runs differs from the file; for people.
        own_form: it runs as it is in the file.
    """

    runtime: "Runtime"
    reason: str
    own_form: bool


def with_engine(opened: "Runtime", engine: str, img_size: int, num_images: int) -> Chosen:
    """Put a model that was opened from its file on an engine.

    Args:
        engine: one of `formats.ENGINES`, or auto.
        img_size: side of the images to come.
        num_images: how many of them, which decides whether a conversion is worth its time.

    Raises:
        FastViTError: the engine cannot run such a file, or is not installed.
        WorkFailedError: the conversion failed.
    """
    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
    from fastvit_cli.runtimes.coreml_runtime import CoreMLRuntime
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

    if isinstance(opened, TorchRuntime):
        return _for_network(opened, engine, img_size, num_images)
    own = COREML if opened.engine.startswith(COREML) else opened.engine
    if engine not in (AUTO, own):
        raise FastViTError(
            f"An exported file that runs on {own} cannot run on {engine}.",
            "Leave --engine out, or pass the checkpoint it was exported from.",
        )
    if isinstance(opened, CoreMLEvaluator) and sys.platform == "darwin":
        return Chosen(CoreMLRuntime(opened), "Core ML itself, on the units that it chooses", own_form=True)
    if opened.engine == "coreml-emulated":
        words = "an emulation of Core ML, operation by operation: the package's numbers, not its speed"
        return Chosen(opened, words, own_form=True)
    return Chosen(opened, "the file's own", own_form=True)


def _for_network(opened: "TorchRuntime", engine: str, img_size: int, num_images: int) -> Chosen:
    from fastvit_cli.models.cost import network_cost
    from fastvit_cli.models.fusion import fuse_all
    from fastvit_cli.runtimes.compiled_runtime import CompiledRuntime
    from fastvit_cli.runtimes.onnx_conversion import to_onnx
    from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

    if engine == TORCH:
        return Chosen(opened, "as it is in the file", own_form=True)
    if engine not in (AUTO, COMPILE, ONNXRUNTIME):
        own = next(row.name for row in FORMATS.values() if row.engine == ENGINES[engine])
        raise FastViTError(
            f"Weights cannot run on {engine}.",
            f"Export them first: fastvit export --format {own}, then pass --ckpt with that file.",
        )
    network = fuse_all(opened.network)
    info = replace(opened.info, form="all", preprocessing=opened.info.preprocessing.at_size(img_size))
    folded = "all folded" + ("" if opened.info.form == "all" else f", while the file is {_FORMS[opened.info.form]}")
    why = f"--engine {engine}"
    if engine == AUTO:
        work = num_images * network_cost(opened.network, img_size).multiply_adds if opened.device.type == "cpu" else 0
        engine = ONNXRUNTIME if work >= _REPAYS_CONVERSION and _has_onnxruntime() else TORCH
        why = "so many images repay the conversion" if engine == ONNXRUNTIME else "the same numbers, faster"
    if engine == TORCH:
        return Chosen(TorchRuntime(network, info, opened.device), f"{folded}; {why}", opened.info.form == "all")
    if engine == COMPILE:
        return Chosen(CompiledRuntime(network, info, opened.device), f"compiled, {folded}; {why}", own_form=False)
    graph = to_onnx(network.cpu(), info).SerializeToString()
    converted = f"converted to ONNX in memory, {folded}; {why}"
    return Chosen(OnnxRuntime(graph, opened.device), converted, own_form=False)


_FORMS = {"unfused": "unfused", "branches": "fused by branches"}


def _has_onnxruntime() -> bool:
    from importlib.util import find_spec

    return find_spec("onnxruntime") is not None
