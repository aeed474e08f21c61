"""Options, declared once: a frozen dataclass whose fields carry what the command line and the docs need.

Core rooms declare a config with `option(...)` fields; `commands/signature.py` makes the Typer options of it,
YAML files use the same field names, and the config is what the core function takes. Nothing heavy is imported.
"""

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fastvit_cli.errors import FastViTError, closest

PANEL_MODEL = "Model"
PANEL_DATA = "Data"
PANEL_OUTPUT = "Output"
MAX_IMG_SIZE = 8192  # up to here the first layer of the widest network has less than 2**31 values for an image
_PATHS = frozenset(("FILE", "FOLDER", "PATH", "DATA", "RUN", "IMAGE", "NAME|FILE"))  # metavars of options
AUTO_WORD, AUTO_NUMBER = "auto", -1  # as it is typed, and as the value that stands for it
_KEY = "fastvit_option"


@dataclass(frozen=True)
class OptionSpec:
    """What a field says of itself beyond its name, type and default.

    Attributes:
        help: one sentence with unit and meaning; the default is added by the renderer.
        panel: heading in `--help`.
        metavar: placeholder of the value; None takes the type's.
        choices: the allowed values, shown and checked.
        minimum, maximum: inclusive bounds of a number.
        auto: a number that may also be typed as auto, to be found out later; its value is then `AUTO_NUMBER`.
        default_text: what `--help` shows instead of the default, for defaults worked out later.
        positional: typed without a name; any number of times where the value is a tuple.
    """

    help: str
    panel: str = "Options"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    auto: bool = False
    default_text: str | None = None
    positional: bool = False


def option(default: Any, help: str, **spec: Any) -> Any:
    """A dataclass field that is also a command-line option. See `OptionSpec` for the keywords."""
    if isinstance(default, list | dict):
        raise TypeError("an option's default must be immutable: pass a tuple")
    return field(default=default, metadata={_KEY: OptionSpec(help=help, **spec)})


def option_spec(metadata: Any) -> OptionSpec | None:
    """The spec of a dataclass field's metadata; None for a field that is no option."""
    spec = metadata.get(_KEY)
    assert spec is None or isinstance(spec, OptionSpec)
    return spec


def flag_of(name: str) -> str:
    """`img_size` as it is typed: `--img-size`."""
    return "--" + name.replace("_", "-")


def check_values(config: Any) -> None:
    """Check every option of a config against its spec: choices, bounds, and paths that can be none.

    Raises:
        FastViTError: a value that is none of the choices, out of bounds, empty, or no path.
    """
    check_given(config, vars(config))


def check_given(config: Any, given: Mapping[str, Any]) -> None:
    """The same for some options of a config, or of its class, by their names."""
    for item in fields(config):
        spec, value = option_spec(item.metadata), given.get(item.name)
        if spec is None or value is None:
            continue
        name = flag_of(item.name) if not spec.positional else str(spec.metavar)
        for single in value if isinstance(value, tuple) else (value,):
            if isinstance(single, str):
                _check_text(name, single, spec)
            _check_value(name, single, spec)


def _check_text(flag: str, text: str, spec: OptionSpec) -> None:
    if not text.strip():
        raise FastViTError(
            f"{flag} is empty.",
            "Pass a value, or leave it out. If a variable of your shell stands there, it is not set.",
        )
    if spec.metavar not in _PATHS:
        return
    try:
        Path(text).expanduser().lstat()
    except RuntimeError as error:  # of expanduser
        raise FastViTError(
            f"{flag} is '{text}', and there is no user '{text[1:].partition('/')[0]}' here.", "Write the folder out."
        ) from error
    except ValueError as error:
        raise FastViTError(f"{flag} is {text!a}, which no file can be called.", "Pass another name.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise FastViTError(
                f"{flag} has a name of {max(map(len, Path(text).parts))} letters, too long for a file.",
                "Pass a shorter one.",
            ) from error


def _check_value(flag: str, value: Any, spec: OptionSpec) -> None:
    if spec.auto and value == AUTO_NUMBER:
        return
    if spec.choices and value not in spec.choices:
        raise FastViTError(
            f"{flag} does not take '{value}'.",
            f"{closest(str(value), spec.choices)}Pass one of: {', '.join(spec.choices)}.",
        )
    above = spec.minimum is None or value >= spec.minimum
    below = spec.maximum is None or value <= spec.maximum
    if not (above and below) or (isinstance(value, float) and not math.isfinite(value)):
        raise FastViTError(f"{flag} is {value}.", f"Pass {bounds_text(spec)}.")


def bounds_text(spec: OptionSpec) -> str:
    """`1 or more`, `0 to 1`; empty where there are no bounds."""
    if spec.minimum is None and spec.maximum is None:
        return ""
    if spec.maximum is None:
        return f"{_number_text(spec.minimum)} or more"
    return f"{_number_text(spec.minimum or 0)} to {_number_text(spec.maximum)}"


def _number_text(number: float | None) -> str:
    """Whole numbers with all their digits, so that they can be typed."""
    return str(number) if isinstance(number, int) else f"{number:g}"


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What every command that computes takes.

    Raises:
        FastViTError: a value that is none of the choices, or out of bounds.
    """

    device: str = option("auto", "Where to compute: auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    seed: int = option(0, "Seed of every random choice.", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class TrainedData:
    """What a model was trained on, as `--data` and `--val-split` take it."""

    data: str
    val_split: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ComputeConfig):
    """Which model: a file, else published or random weights of a variant, else the newest run."""

    ckpt: str | None = option(
        None,
        "Weights file, run folder, folder with timm's config.json, hf-hub:org/name, or latest; bare --ckpt means "
        "latest.",
        panel=PANEL_MODEL,
        metavar="FILE",
        default_text="the newest run under runs/",
    )
    variant: str | None = option(
        None,
        "FastViT variant: t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1 or mci2.",
        panel=PANEL_MODEL,
        metavar="NAME",
    )
    pretrained: str | None = option(
        None,
        "Published weights of --variant: apple_dist_in1k (bare --pretrained) or apple_in1k from ImageNet; "
        "apple_mclip for mci0 to mci2.",
        panel=PANEL_MODEL,
        metavar="TAG",
    )
    ema: bool = option(True, "Take the averaged (EMA) weights where a file holds both kinds.", panel=PANEL_MODEL)
    ckpt_key: str | None = option(
        None,
        "Which network to take of a file that holds several, such as student; the refusal names them.",
        panel=PANEL_MODEL,
        metavar="NAME",
    )


def trust_option() -> Any:
    """The `--trust` of a command."""
    return option(
        False,
        "Open .pt2 and .torchscript files, which can run code on this machine: only if you trust their author.",
        panel=PANEL_MODEL,
    )


def processes_option(panel: str | None = None) -> Any:
    """The `--nproc-per-node` of a command."""
    return option(
        None,
        "Processes on this machine, one a GPU. Under torchrun leave it out.",
        panel=panel,
        minimum=1,
        default_text="1",
    )


def output_option(help: str, **spec: Any) -> Any:
    """The `--output` of a command."""
    return option(None, help, panel=PANEL_OUTPUT, metavar="PATH", **spec)
