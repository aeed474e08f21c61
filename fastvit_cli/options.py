"""Options, declared once: a frozen dataclass whose fields carry what the command line and the docs need.

Core rooms declare a config with `option(...)` fields; `commands/signature.py` makes the Typer options of it,
YAML files use the same field names, and the config is what the core function takes. Nothing heavy is imported.
"""

from dataclasses import dataclass, field
from typing import Any

PANEL_MODEL = "Model"
PANEL_DATA = "Data"
PANEL_OUTPUT = "Output"
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
        default_text: what `--help` shows instead of the default, for defaults worked out later.
    """

    help: str
    panel: str = "Options"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default_text: str | None = None


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


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What every command that computes takes."""

    device: str = option("auto", "Where to compute: auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    seed: int = option(0, "Seed of every random choice.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ComputeConfig):
    """Which model: a file, else published or random weights of a variant, else the newest run."""

    ckpt: str | None = option(
        None,
        "Weights file, run folder, hf-hub:org/name, or latest; bare --ckpt means latest.",
        panel=PANEL_MODEL,
        metavar="FILE",
        default_text="the newest run under runs/",
    )
    variant: str | None = option(
        None, "FastViT variant: t8, t12, s12, sa12, sa24, sa36 or ma36.", panel=PANEL_MODEL, metavar="NAME"
    )
    pretrained: str | None = option(
        None,
        "Published ImageNet weights of --variant: apple_dist_in1k (bare --pretrained) or apple_in1k.",
        panel=PANEL_MODEL,
        metavar="TAG",
    )


def output_option(help: str, **spec: Any) -> Any:
    """The `--output` of a command."""
    return option(None, help, panel=PANEL_OUTPUT, metavar="PATH", **spec)
