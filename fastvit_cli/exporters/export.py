"""From a trained network to a file that phones and servers run, checked."""

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastvit_cli.atomic import refuse_existing
from fastvit_cli.checkpoints.hub import HUB_PREFIX
from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import RealImages
from fastvit_cli.data.sources import is_found_anywhere
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.check import TOLERANCES, CheckResult, check_export, random_images
from fastvit_cli.exporters.drift import describe_drift, layer_drifts
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration, Step, choose_output
from fastvit_cli.exporters.snippets import snippet_path, write_snippet
from fastvit_cli.formats import FORMATS
from fastvit_cli.models.channels_first import channels_first
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import files_of
from fastvit_cli.runtimes.torch_runtime import TorchRuntime


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote and how the check of it went.

    Attributes:
        output: the file, or the folder of a Core ML package.
        size_bytes: of all it holds.
        img_size: side of the input, pixels.
        headless: gives the pooled embedding instead of logits.
        class_names_inside: the file names the classes itself.
        notes: what is worth knowing of how it was made, one sentence each.
        drift: with `debug_drift`, the first layer that differs, in words.
        zip: with `zip`, the same package as one file.
        snippet: the lines that load and run the file, which `snippet_file` holds.
    """

    output: str
    format: str
    precision: str
    size_bytes: int
    check: CheckResult
    variant: str
    img_size: int
    headless: bool
    num_classes: int
    class_names_inside: bool
    notes: tuple[str, ...]
    drift: str | None
    zip: str | None
    snippet: str
    snippet_file: str


def write_export(
    config: ExportConfig,
    loaded: LoadedModel,
    real: RealImages | None = None,
    on_event: Callable[[Step], None] | None = None,
    calibration: Calibration | None = None,
) -> ExportResult:
    """Fold everything that folds, convert, write, then compare the file with the network as it was loaded.

    A file whose check fails stays where it is, with `check.passed` False.

    Args:
        real: images of the network's size for the check; noise is always added.
        on_event: called with a `Step` as each part begins, and as it goes on.
        calibration: what `config.is_lossy` needs.

    Raises:
        FastViTError: the format is not available here, no calibration, or the output exists or cannot be written.
        WorkFailedError: the conversion failed.
    """
    if config.is_lossy and calibration is None:
        raise FastViTError("Fewer bits need images to calibrate with.", "Pass --data with a folder that has train/.")
    step = on_event or (lambda _: None)
    target = FORMATS[config.format]
    output = _output(config, loaded)
    exporter = importlib.import_module(target.exporter)
    network, info = _what_to_export(loaded, config)
    step(Step("Fusing"))
    fused = channels_first(fuse_all(network))
    fused_info = _info_of_export(info, loaded.info, config)
    step(Step(f"Converting to {target.title}"))
    notes: tuple[str, ...] = exporter.write(fused, fused_info, output, config, calibration)
    snippet_file, snippet = write_snippet(output, fused_info, config)
    step(checking := Step(f"Checking {output.name}"))
    check = check_export(
        output,
        TorchRuntime(network, info, torch.device("cpu")),
        real,
        config.compress or config.resolved_precision,
        exporter.inspect(output, fused_info, fused, config),
        config.seed,
        lambda done, total: step(replace(checking, done=done, total=total)),
    )
    return ExportResult(
        output=str(output),
        format=config.format,
        precision=config.resolved_precision,
        size_bytes=sum(file.stat().st_size for file in files_of(output)),
        check=check,
        variant=info.variant,
        img_size=info.preprocessing.img_size,
        headless=info.num_classes == 0,
        num_classes=info.num_classes,
        class_names_inside=info.class_names is not None,
        notes=notes,
        drift=_drift(config, output, fused, fused_info, real) if config.debug_drift else None,
        zip=_pack(output) if config.zip else None,
        snippet=snippet,
        snippet_file=str(snippet_file),
    )


def _output(config: ExportConfig, loaded: LoadedModel) -> Path:
    """The path to write, where this machine can write the format and nothing is in the way, unless forced."""
    target = FORMATS[config.format]
    output = choose_output(config.output, loaded, target.suffix, config.force)
    zipped = [output.with_name(f"{output.name}.zip")] if config.zip else []
    for beside in (snippet_path(output, config.format), *zipped, *files_of(output)[1:]):
        refuse_existing(beside, config.force)
    target.check_writable()
    return output


def _drift(config: ExportConfig, output: Path, network: FastViT, info: ModelInfo, real: RealImages | None) -> str:
    size = info.preprocessing.img_size
    image = random_images(1, size, config.seed) if real is None else real.pixels[:1]
    allowed = TOLERANCES[config.compress or config.resolved_precision]
    return describe_drift(layer_drifts(output, network, info, image), allowed)


def _pack(output: Path) -> str:
    from fastvit_cli.exporters.coreml_package import pack

    return str(pack(output))


def _what_to_export(loaded: LoadedModel, config: ExportConfig) -> tuple[FastViT, ModelInfo]:
    """The network as loaded, on the CPU, without its classifier when headless, and what is known of it."""
    network = copy.deepcopy(loaded.network).cpu().eval()
    info = replace(loaded.info, preprocessing=loaded.info.preprocessing.at_size(config.img_size))
    if config.headless:
        network.head.fc = nn.Identity()
        network.num_classes = 0
        info = replace(info, num_classes=0, class_names=None)
    return network, info


def _info_of_export(info: ModelInfo, source: ModelInfo, config: ExportConfig) -> ModelInfo:
    """Metadata of the exported file, which others get: no path of this machine is in it.

    A measured top-1 holds for the same input size and precision only.
    """
    exact = config.resolved_precision == "fp32" and config.compress is None
    same = exact and (info.preprocessing, info.num_classes) == (
        source.preprocessing,
        source.num_classes,
    )
    return replace(
        info,
        form="all",
        top1=info.top1 if same else None,
        checksum=None,
        data=info.data if info.data is not None and is_found_anywhere(info.data) else None,
        recipe={name: value for name, value in info.recipe.items() if not _is_path(value)},
    )


def _is_path(value: Any) -> bool:
    """Of a value of a recipe, such as its class map or its teacher, which training writes as absolute paths."""
    separated = isinstance(value, str) and ("/" in value or "\\" in value)
    return separated and not value.startswith(HUB_PREFIX) and not is_found_anywhere(value)
