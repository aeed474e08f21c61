"""A tiny network exported: what all formats are checked with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from helpers.loaded import SIZE, pixels

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data.loader import RealImages
from fastvit_cli.exporters.export import ExportResult, write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.formats import FORMATS
from fastvit_cli.runtimes.checksum import CHECKSUM_KEY
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

CPU = torch.device("cpu")
IMAGE_INPUT = {"image_input": True, "opset": 18, "debug_drift": True}

Exports = Callable[..., ExportResult]


def exported_to(model: LoadedModel, folder: Path, format_: str, **options: Any) -> ExportResult:
    output = folder / f"a{FORMATS[format_].suffix}"
    config = ExportConfig(format=format_, output=str(output), force=True, **options)
    return write_export(
        config, model, RealImages(pixels(3, config.img_size or SIZE)), None, Calibration(pixels(20, seed=2))
    )


def expected_of(model: LoadedModel, count: int = 3) -> torch.Tensor:
    return TorchRuntime(model.network, model.info, CPU).logits(pixels(count))


def save_changed(model: onnx.ModelProto, path: Path) -> None:
    """Save an export that was changed, without its checksum: as it would be had `export` written it so."""
    kept = {item.key: item.value for item in model.metadata_props if item.key != CHECKSUM_KEY}
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, path)
