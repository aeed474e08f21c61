"""Options of `fastvit train`, and how recipe, file and command line make one configuration."""

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from fastvit_cli.data.config import DataConfig
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import PANEL_DATA, PANEL_MODEL, PANEL_OUTPUT, ModelConfig, option, output_option

PANEL_TRAINING = "Training"
PANEL_AUGMENTATION = "Augmentation"
DEMO_RECIPE, DEFAULT_RECIPE = "demo", "scratch"
NO_POLICY = "none"
_RECIPE_DEFAULT = "the recipe's"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ModelConfig, DataConfig):
    """See the help texts. A `config.yaml` of a run folder holds the same names."""

    variant: str = option(
        "t8",
        "FastViT variant: t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1 or mci2.",
        panel=PANEL_MODEL,
        metavar="NAME",
    )
    ckpt: str | None = option(
        None,
        "Weights to start from: a file, run folder, hf-hub:org/name or latest. Another number of classes gets a "
        "new head.",
        panel=PANEL_MODEL,
        metavar="FILE",
        default_text="none, random weights",
    )
    output: str | None = output_option("Run folder to create.", default_text="runs/train/<date>-<time>-<variant>")
    config: str | None = option(
        None, "YAML file with any of these options, such as a run's config.yaml.", panel=PANEL_OUTPUT, metavar="FILE"
    )
    resume: str | None = option(
        None,
        "Go on with a stopped run from its last finished epoch; bare --resume means the latest run.",
        panel=PANEL_OUTPUT,
        metavar="RUN",
    )
    img_size: int = option(
        256, "Input side in pixels, best a multiple of 32.", panel=PANEL_DATA, minimum=32, default_text="256, demo 64"
    )
    crop_pct: float | None = option(
        None,
        "Share of the resized image that the evaluation crop keeps.",
        panel=PANEL_DATA,
        minimum=0.1,
        maximum=1.0,
        default_text="the variant's, .90 or .95; demo 1.0",
    )
    epochs: int = option(
        100, "Passes over the training images.", panel=PANEL_TRAINING, minimum=1, default_text=_RECIPE_DEFAULT
    )
    batch_size: int = option(64, "Images a step.", panel=PANEL_TRAINING, minimum=2, default_text=_RECIPE_DEFAULT)
    lr: float = option(
        1e-3, "Peak learning rate of AdamW.", panel=PANEL_TRAINING, minimum=0.0, default_text=_RECIPE_DEFAULT
    )
    min_lr: float = option(1e-5, "Learning rate at the end of the cosine.", panel=PANEL_TRAINING, minimum=0.0)
    warmup_epochs: float = option(
        5.0,
        "Epochs of linear warm-up, at most a fifth of the run.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        default_text=_RECIPE_DEFAULT,
    )
    weight_decay: float = option(0.05, "On parameters of two or more dimensions.", panel=PANEL_TRAINING, minimum=0.0)
    label_smoothing: float = option(
        0.1, "Share spread over the other classes.", panel=PANEL_TRAINING, minimum=0.0, maximum=0.99
    )
    drop_path: float = option(
        0.0, "Stochastic depth of the last block, growing linearly from 0.", panel=PANEL_TRAINING, minimum=0.0
    )
    ema_decay: float = option(
        0.9995, "Moving average of the weights, with warm-up; 0 for none.", panel=PANEL_TRAINING, minimum=0.0,
        maximum=0.99999, default_text=_RECIPE_DEFAULT,
    )  # fmt: skip
    freeze_backbone: bool = option(
        False,
        "Train the classifier alone; the only way to train from a fused file.",
        panel=PANEL_TRAINING,
    )
    amp: bool = option(False, "Compute in bfloat16 where it is safe.", panel=PANEL_TRAINING)
    min_scale: float = option(
        0.08, "Smallest share of the area a random crop keeps.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0,
        default_text=_RECIPE_DEFAULT,
    )  # fmt: skip
    hflip: float = option(0.5, "Probability of a mirror image.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0)
    auto_augment: str = option(
        "rand-m9-mstd0.5-inc1", "timm policy, or none.", panel=PANEL_AUGMENTATION, metavar="POLICY",
        default_text=_RECIPE_DEFAULT,
    )  # fmt: skip
    color_jitter: float = option(
        0.4,
        "Strength of brightness, contrast and saturation changes where there is no policy.",
        panel=PANEL_AUGMENTATION,
        minimum=0.0,
        default_text=_RECIPE_DEFAULT,
    )
    mixup: float = option(
        0.2, "Mixup alpha; 0 for none.", panel=PANEL_AUGMENTATION, minimum=0.0, default_text=_RECIPE_DEFAULT
    )
    cutmix: float = option(
        1.0, "CutMix alpha; 0 for none.", panel=PANEL_AUGMENTATION, minimum=0.0, default_text=_RECIPE_DEFAULT
    )
    random_erasing: float = option(
        0.25, "Probability of erasing a rectangle.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0,
        default_text=_RECIPE_DEFAULT,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        get_variant(self.variant)
        if self.lr == 0:
            raise FastViTError("--lr 0 never learns.", "Pass a rate above 0, such as 0.001.")
        if self.min_lr > self.lr:
            raise FastViTError(f"--min-lr {self.min_lr:g} is above --lr {self.lr:g}.", "Pass a smaller --min-lr.")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise FastViTError(
                f"Mixup and cutmix pair the images of a batch, and --batch-size {self.batch_size} is odd.",
                f"Pass --batch-size {self.batch_size + 1}, or --mixup 0 --cutmix 0.",
            )


# Where a run is and what it continues is no part of its recipe.
_NOT_SAVED = frozenset(("config", "resume", "output", "check_data"))


def resolve_config(wanted: Mapping[str, Any], recipe: str | None) -> TrainConfig:
    """One configuration of what was wanted (command line over `--config` file), over the recipe, over the defaults.

    Raises:
        FastViTError: a value out of range.
    """
    return TrainConfig(**{**(recipe_values(recipe) if recipe else {}), **wanted})


def recipe_values(name: str) -> dict[str, Any]:
    """The options that a recipe of the package sets."""
    import yaml

    text = (resources.files("fastvit_cli.training") / "recipes" / f"{name}.yaml").read_text()
    return _checked_values(yaml.safe_load(text), f"recipe {name}")


def read_config_file(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        FastViTError: no such file, not YAML, or a name that is no option.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise FastViTError(f"Cannot read '{path}' ({error.strerror}).", "Pass --config with a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FastViTError(
            f"'{path}' is no YAML file.", "Pass a run's config.yaml, or lines of `name: value`."
        ) from error
    return _checked_values(content, f"'{path}'")


def _checked_values(content: Any, where: str) -> dict[str, Any]:
    types = {field.name: field.type for field in fields(TrainConfig)}
    if not isinstance(content, dict):
        raise FastViTError(f"{where} holds no `name: value` lines.", "Pass a run's config.yaml.")
    values = {}
    for raw_name, value in content.items():
        name = str(raw_name).replace("-", "_")
        if name not in types:
            raise FastViTError(
                f"{where} sets '{raw_name}', which is no option.",
                f"{closest(name, types)}See 'fastvit train --help'.",
            )
        values[name] = _checked_type(name, value, types[name], where)
    return values


def _checked_type(name: str, value: Any, hint: Any, where: str) -> Any:
    allowed = typing.get_args(hint) or (hint,)
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) not in allowed:
        names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
        raise FastViTError(f"{where} sets '{name}' to {value!r}.", f"It takes a value of type {names}.")
    return value


def config_to_yaml(config: TrainConfig) -> str:
    """What `config.yaml` of a run folder holds; `--config` reads it again."""
    import yaml

    return yaml.safe_dump(recipe_of(config), sort_keys=False)


def recipe_of(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain values, without what belongs to one run only."""
    return {name: value for name, value in asdict(config).items() if name not in _NOT_SAVED}
