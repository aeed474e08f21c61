"""The teacher of a distilled run: any timm model, or any file that a FastViT lives in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.hub import HUB_PREFIX
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.select import local_path, select_source
from fastvit_cli.data.images import Images
from fastvit_cli.data.model_classes import ClassMatch, match_classes
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.options import ModelConfig
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.open import open_source
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training.train_options import TrainConfig

_ANOTHER = "Pass another --teacher, or --distillation-type none to learn from the labels alone."


@dataclass(frozen=True)
class Teacher:
    """A model that is asked and does not learn.

    Attributes:
        name: as the user typed it.
        logits: normalised images (B, 3, H, W) to (B, classes) on the same device, without gradients; the classes
            in the student's order.
        assumed: what was taken for granted of its classes, for the user to read.
    """

    name: str
    logits: Callable[[Tensor], Tensor]
    assumed: str = ""


def open_teacher(config: TrainConfig, student: ModelInfo, images: Images, device: torch.device) -> Teacher:
    """Load what `--teacher` names, fused, onto the device; an exported file runs in its own runtime.

    Args:
        images: what the student trains on, in whose classes the teacher answers.

    Raises:
        FastViTError: no such model or file, or it knows other classes or sees other images than the student.
    """
    name = config.teacher
    assert name is not None
    if not local_path(name).exists():
        return _timm_teacher(name, config, student, images, device)
    source = select_source(ModelConfig(ckpt=name), random_allowed=False)
    opened = open_source(source, device, trust=config.trust)
    match = _match(name, opened.info, images)
    _check_normalisation(name, opened.info.preprocessing.mean, opened.info.preprocessing.std, student)
    if isinstance(opened, TorchRuntime):
        network = opened.network if opened.info.form == "all" else fuse_all(opened.network)
        return _answering(name, _asked(network, config, device), match)
    _check_only_size(name, opened.info.preprocessing.img_size, student)
    return _answering(name, _asked_by_batch(opened, device), match)


def _answering(name: str, logits: Callable[[Tensor], Tensor], match: ClassMatch) -> Teacher:
    """The teacher, with its classes in the student's order."""
    if match.outputs == tuple(range(len(match.outputs))):
        return Teacher(name, logits, match.assumed)
    outputs = list(match.outputs)
    return Teacher(name, lambda seen: logits(seen)[:, outputs], match.assumed)


def _timm_teacher(
    name: str, config: TrainConfig, student: ModelInfo, images: Images, device: torch.device
) -> Teacher:
    import timm
    from timm.utils import reparameterize_model

    architecture = name.partition(".")[0]
    if not name.startswith(HUB_PREFIX) and not timm.is_model(architecture):
        if Path(name).suffix or "/" in name:
            raise FastViTError(f"There is no file '{name}'.", "Pass --teacher with a file, run folder or timm name.")
        raise FastViTError(
            f"'{name}' is neither a file nor a timm model.", f"{closest(architecture, timm.list_models())}{_ANOTHER}"
        )
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # timm, huggingface_hub and the HTTP library raise unrelated types here
        raise FastViTError(
            f"'{name}' can be neither downloaded nor found in the local cache ({type(error).__name__}).",
            "Connect to the network, or pass --teacher with a file.",
        ) from error
    cfg = cast(dict[str, Any], model.pretrained_cfg)
    match = _match_outputs(name, model.num_classes, None, images)
    _check_normalisation(name, tuple(cfg["mean"]), tuple(cfg["std"]), student)
    if cfg.get("fixed_input_size"):
        _check_only_size(name, cfg["input_size"][-1], student)
    return _answering(name, _asked(reparameterize_model(model), config, device), match)


def _match(name: str, teacher: ModelInfo, images: Images) -> ClassMatch:
    """Where the teacher has the student's classes."""
    if not teacher.is_classifier:
        raise FastViTError(f"The teacher '{name}' is no classifier: it gives an embedding.", _ANOTHER)
    return _match_outputs(name, teacher.num_classes, teacher.class_names, images)


def _match_outputs(name: str, num_classes: int, class_names: tuple[str, ...] | None, images: Images) -> ClassMatch:
    if num_classes != len(images.class_names):
        raise FastViTError(
            f"The teacher '{name}' knows {num_classes} classes, and the data has {len(images.class_names)}.", _ANOTHER
        )
    try:
        return match_classes(images, num_classes, class_names)
    except FastViTError as error:
        assert class_names is not None  # without names as many classes always match
        unknown = next(other for other in images.class_names if other not in class_names)
        raise FastViTError(
            f"The teacher '{name}' knows other classes: '{unknown}' of the data is none of them.", _ANOTHER
        ) from error


def _check_normalisation(name: str, mean: tuple[float, ...], std: tuple[float, ...], student: ModelInfo) -> None:
    own = (*student.preprocessing.mean, *student.preprocessing.std)
    if any(abs(a - b) > 1e-3 for a, b in zip((*mean, *std), own, strict=True)):
        raise FastViTError(
            f"The teacher '{name}' sees images with mean {_row(mean)} and std {_row(std)}, the student with "
            f"{_row(student.preprocessing.mean)} and {_row(student.preprocessing.std)}.",
            _ANOTHER,
        )


def _check_only_size(name: str, size: int, student: ModelInfo) -> None:
    if size != student.preprocessing.img_size:
        raise FastViTError(
            f"'{name}' takes images of {size} px only, and the student sees {student.preprocessing.img_size} px.",
            f"Pass --img-size {size}, or another --teacher.",
        )


def _row(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _asked(model: nn.Module, config: TrainConfig, device: torch.device) -> Callable[[Tensor], Tensor]:
    model = model.to(device).eval().requires_grad_(False)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        out: Tensor = model(images)
        return out

    return logits


def _asked_by_batch(runtime: Runtime, device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda images: runtime.logits(images.float()).to(device)
