"""Folders as timm and the Hugging Face Hub keep a model in: weights, and a config.json that says how to use them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import VARIANTS

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first one that is there, as timm takes them
_MOST_BYTES = 16_000_000  # ImageNet-21k's names and descriptions are two
_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class HubConfig:
    """What a config.json of timm's says beside the architecture.

    Attributes:
        path: of the file.
        variant: name in the family table.
        preprocessing: the fields of `Preprocessing` that it sets.
        class_names: by output; None when it has none.
        class_descriptions: what to show in their place; None when it has none.
    """

    path: Path
    variant: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    class_descriptions: tuple[str, ...] | None = None


def weights_in(folder: Path) -> Path | None:
    """The weights of a folder of timm's or the Hub's; None when it is none."""
    if not (folder / CONFIG).is_file():
        return None
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def with_hub_config(info: ModelInfo, weights: Path) -> ModelInfo:
    """Metadata completed by a config.json beside the weights, where that is timm's and of a FastViT.

    Raises:
        FastViTError: its config.json is damaged, or about another network than these weights.
    """
    config = read_hub_config(weights.parent / CONFIG)
    if config is None:
        return info
    if config.variant != info.variant:
        raise FastViTError(
            f"'{config.path}' is about a fastvit_{config.variant}, and '{weights.name}' is a fastvit_{info.variant}.",
            "Move the one that does not belong there into another folder.",
        )
    for names in (config.class_names, config.class_descriptions):
        if names is not None and len(names) != info.num_classes:
            raise FastViTError(
                f"'{config.path}' names {len(names)} classes, and '{weights.name}' has {info.num_classes} outputs.",
                "Mend its label_names, or remove them and pass --class-map.",
            )
    return replace(
        info,
        preprocessing=replace(info.preprocessing, **config.preprocessing),
        class_names=config.class_names,
        class_descriptions=config.class_descriptions,
    )


def read_hub_config(path: Path) -> HubConfig | None:
    """What timm's config.json says; None where there is none, or it is about something else than a FastViT.

    Raises:
        FastViTError: it is damaged, or asks for what this program does not do.
    """
    content = _read(path)
    if content is None:
        return None
    # Its older form keeps all on one level.
    pretrained = content.get("pretrained_cfg", content)
    architecture = content.get("architecture")
    if not isinstance(architecture, str) or not isinstance(pretrained, dict):
        return None
    variant = architecture.partition(".")[0].removeprefix("fastvit_")
    if variant not in VARIANTS or not architecture.startswith("fastvit_"):
        return None
    try:
        names = _names(content.get("label_names", pretrained.get("label_names", pretrained.get("labels"))))
        described = content.get("label_descriptions", pretrained.get("label_descriptions"))
        return HubConfig(path, variant, _preprocessing(pretrained), names, _descriptions(described, names))
    except (ValueError, TypeError, KeyError) as error:
        raise FastViTError(f"'{path}' cannot be used: {error}.", "Mend it, or fetch it again.") from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _MOST_BYTES:
            raise FastViTError(f"'{path}' is larger than any config.json of a model.", "Move it away.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FastViTError(f"'{path}' cannot be read ({error.strerror}).", "Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise FastViTError(f"'{path}' is no JSON ({type(error).__name__}).", "Mend it, or fetch it again.") from error
    return content if isinstance(content, dict) else None


def _preprocessing(pretrained: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "input_size" in pretrained:
        channels, height, width = pretrained["input_size"]
        if channels != 3 or height != width or not isinstance(height, int):
            raise ValueError(f"input_size is {channels} x {height} x {width}, and images are square, of 3 channels")
        found["img_size"] = height
    for name in ("mean", "std"):
        if name in pretrained:
            found[name] = tuple(float(value) for value in pretrained[name])
            if len(found[name]) != 3 or not all(map(math.isfinite, found[name])):
                raise ValueError(f"{name} is no list of three numbers")
    if min(found.get("std", (1.0,))) <= 0:
        raise ValueError("std has a value that is not above 0")
    if "crop_pct" in pretrained:
        found["crop_pct"] = float(pretrained["crop_pct"])
    if "interpolation" in pretrained:
        found["interpolation"] = pretrained["interpolation"]
        if found["interpolation"] not in _INTERPOLATIONS:
            raise ValueError(f"interpolation is none of {', '.join(_INTERPOLATIONS)}")
    if pretrained.get("crop_mode", "center") != "center":
        raise ValueError("crop_mode is not center")
    Preprocessing(**found)  # its own bounds
    return found


def _names(given: Any) -> tuple[str, ...] | None:
    """A list by output, or a mapping from output to name that may have gaps."""
    if not given:
        return None
    if isinstance(given, dict):
        by_output = {int(output): str(name) for output, name in given.items()}
        return tuple(by_output[output] for output in range(len(by_output)))
    if not isinstance(given, list):
        raise TypeError("label_names is no list")
    return tuple(str(name) for name in given)


def _descriptions(given: Any, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """A mapping from name to description, or a list by output."""
    if not given:
        return None
    if isinstance(given, dict) and names is not None:
        return tuple(str(given.get(name, name)) for name in names)
    return _names(given)
