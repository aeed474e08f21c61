"""What `fastvit bench` takes. Imports nothing heavy."""

from dataclasses import dataclass

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import TOTAL_STRIDE
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import PANEL_MODEL, ComputeConfig, option, output_option

ENGINES = ("torch",)  # bench.run holds what each of them does
FORMS = ("unfused", "branches", "all")  # models.network.Form
MAX_MIN_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class BenchConfig(ComputeConfig):
    """Which networks to time, on what, and for how long.

    Raises:
        FastViTError: a value is unknown or out of range.
    """

    variant: tuple[str, ...] = option(
        (),
        "FastViT variant to time: t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1 or mci2. Repeat to compare.",
        panel=PANEL_MODEL,
        metavar="NAME",
        default_text="t8 with random weights when there is no run either",
    )
    ckpt: tuple[str, ...] = option(
        (),
        "Weights file, run folder, hf-hub:org/name or latest to time; bare --ckpt means latest. Repeat to compare.",
        panel=PANEL_MODEL,
        metavar="FILE",
    )
    pretrained: str | None = option(
        None,
        "Published weights of each --variant: apple_dist_in1k (bare --pretrained) or apple_in1k from ImageNet; "
        "apple_mclip for mci0 to mci2.",
        panel=PANEL_MODEL,
        metavar="TAG",
    )
    fuse: str = option(
        "all",
        "Form to time: all (branches, BatchNorms and layer scales folded, for deployment), branches (as timm and the "
        "reference fuse), unfused (as trained).",
        panel=PANEL_MODEL,
        choices=FORMS,
    )
    engine: tuple[str, ...] = option(("torch",), "What runs the network. Repeat to compare.", choices=ENGINES)
    batch_size: int = option(1, "Images in one step.", minimum=1)
    img_size: int | None = option(
        None, "Side of the square input in pixels.", minimum=TOTAL_STRIDE, default_text="the model's own"
    )
    iterations: int = option(50, "Timed steps per subject, at least.", minimum=1)
    min_seconds: float = option(
        2.0, "Seconds of timed steps per subject, at least.", minimum=0, maximum=MAX_MIN_SECONDS
    )
    output: str | None = output_option("Folder for results.json.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.variant:
            get_variant(name)
        if self.pretrained is not None and not self.variant:
            raise FastViTError("--pretrained needs a variant.", "Pass --variant t8 --pretrained, for instance.")
        if not self.engine:
            raise FastViTError("No engine to time.", f"Pass --engine with one of: {', '.join(ENGINES)}.")
