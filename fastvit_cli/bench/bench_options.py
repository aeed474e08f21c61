"""What `fastvit bench` takes. Imports nothing heavy."""

from dataclasses import dataclass

from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ENGINES
from fastvit_cli.models.preprocessing import TOTAL_STRIDE
from fastvit_cli.models.variants import VARIANTS, get_variant
from fastvit_cli.options import MAX_IMG_SIZE, PANEL_MODEL, PANEL_OUTPUT, ComputeConfig, flag_of, option, output_option

FORMS = ("unfused", "branches", "all")  # models.network.Form
DTYPES = ("float32", "bfloat16", "float16")
PEERS = ("timm",)
ALL_VARIANTS = "all"
MAX_MIN_SECONDS = 3600.0
PANEL_TIMING = "Timing"


@dataclass(frozen=True, kw_only=True)
class BenchConfig(ComputeConfig):
    """Which networks to time, on what, and for how long.

    Raises:
        FastViTError: a value is unknown or out of range, or two options contradict each other.
    """

    variant: tuple[str, ...] = option(
        (),
        "FastViT variant to time: t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1, mci2, or all for the first "
        "seven. Repeat to compare.",
        panel=PANEL_MODEL,
        metavar="NAME",
        default_text="t8 with random weights when there is no run either",
    )
    ckpt: tuple[str, ...] = option(
        (),
        "Weights file, .onnx of any program, .mlpackage, run folder, hf-hub:org/name or latest to time; bare --ckpt "
        "means latest. Repeat to compare.",
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
    fuse: tuple[str, ...] = option(
        (),
        "Form to time: all (branches, BatchNorms and layer scales folded, for deployment), branches (as timm and the "
        "reference fuse), unfused (as trained). Repeat to compare.",
        panel=PANEL_MODEL,
        choices=FORMS,
        default_text="all; with --train unfused",
    )
    peer: tuple[str, ...] = option(
        (),
        "Time this library's model of the same name and image size too, fused its way.",
        panel=PANEL_MODEL,
        choices=PEERS,
    )
    engine: tuple[str, ...] = option(
        ("torch",),
        f"What runs the network: {', '.join(ENGINES)}. compile is torch.compile; coreml, on a Mac alone, is timed on "
        "each choice of its compute units. Repeat to compare.",
        choices=tuple(ENGINES),
        metavar="NAME",
    )
    dtype: tuple[str, ...] = option(
        ("float32",),
        "Number type: float32, bfloat16 or float16; onnxruntime has float32 alone, coreml float16; with --train that "
        "of autocast. Repeat to compare.",
        choices=DTYPES,
        metavar="NAME",
    )
    channels_last: bool = option(False, "Keep channels last in memory, with torch and compile.")
    threads: int | None = option(
        None,
        "Threads of one operation on the CPU.",
        minimum=1,
        maximum=1024,
        default_text="PyTorch's choice, for every engine",
    )
    batch_size: str = option("1", "Images in one step; several with commas: 1,8,32.", metavar="N,…")
    img_size: str | None = option(
        None,
        "Side of the square input in pixels; several with commas: 192,256.",
        metavar="N,…",
        default_text="the model's own",
    )
    train: bool = option(False, "Time training: forward with the loss, backward and the optimizer, each by itself.")
    iterations: int = option(50, "Timed steps per subject, at least.", panel=PANEL_TIMING, minimum=1)
    min_seconds: float = option(
        5.0, "Seconds of timed steps per subject, at least.", panel=PANEL_TIMING, minimum=0, maximum=MAX_MIN_SECONDS
    )
    baseline: str | None = option(
        None,
        "What the ratios are to: a word of a row, such as timm, torch, unfused, t8 or bfloat16. Each row is compared "
        "with the row of that word that is most like it.",
        panel=PANEL_TIMING,
        metavar="WORD",
        default_text="the peer, else the first row",
    )
    profile: bool = option(False, "Show where the time goes, by layer and by kind of operation.", panel=PANEL_TIMING)
    output: str | None = output_option(
        "Folder for results.json, results.csv, samples.csv, results.md, pictures, report.html and traces."
    )
    compare: str | None = option(
        None,
        "results.json of an earlier run: say what became slower, and exit 1 beyond --tolerance.",
        panel=PANEL_OUTPUT,
        metavar="FILE",
    )
    validated: tuple[str, ...] = option(
        (),
        "What `fastvit validate --json` printed, as a file: its top-1 stands beside the latency of the same model. "
        "Repeat for several.",
        panel=PANEL_OUTPUT,
        metavar="FILE",
    )
    tolerance: float = option(
        5.0,
        "Percent that --compare lets a row become slower; more counts when its interval is above 0 too.",
        panel=PANEL_OUTPUT,
        minimum=0,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.variant:
            if name != ALL_VARIANTS:
                get_variant(name)
        for flag in ("engine", "dtype"):
            if not getattr(self, flag):
                raise FastViTError(f"No {flag} to time.", f"Pass {flag_of(flag)} with one of those in --help.")
        if self.pretrained is not None and not self.variant:
            raise FastViTError("--pretrained needs a variant.", "Pass --variant t8 --pretrained, for instance.")
        if not (self.batch_sizes and self.img_sizes):
            raise AssertionError  # `_sweep` gives at least one
        if self.train:
            self._check_train()

    def _check_train(self) -> None:
        if self.engine != ("torch",):
            raise FastViTError("--train is timed with PyTorch alone.", "Leave --engine out, or pass --engine torch.")
        if self.fuse not in ((), ("unfused",)):
            raise FastViTError("A fused network does not train.", "Leave --fuse out of a --train measurement.")
        if self.profile:
            raise FastViTError("--profile shows inference, not training.", "Leave --profile or --train out.")

    @property
    def variants(self) -> tuple[str, ...]:
        """Names in the family table, each once, `all` written out."""
        written_out: list[str] = []
        for name in self.variant:
            everything = [row.name for row in VARIANTS.values() if row.top1 is not None]
            written_out += everything if name == ALL_VARIANTS else [get_variant(name).name]
        return tuple(dict.fromkeys(written_out))

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms to time."""
        return self.fuse or (("unfused",) if self.train else ("all",))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Images in one step, each once."""
        return _sweep("--batch-size", self.batch_size, 1, None)

    @property
    def img_sizes(self) -> tuple[int | None, ...]:
        """Sides of the input in pixels; (None,) for the model's own."""
        return (None,) if self.img_size is None else _sweep("--img-size", self.img_size, TOTAL_STRIDE, MAX_IMG_SIZE)


def _sweep(flag: str, text: str, minimum: int, maximum: int | None) -> tuple[int, ...]:
    """`1,8,32` as numbers.

    Raises:
        FastViTError: not whole numbers, or one out of bounds.
    """
    numbers = []
    for word in str(text).split(","):
        try:
            numbers.append(int(word))
        except ValueError:
            raise FastViTError(
                f"{flag} does not take '{text}'.", f"Pass a whole number, or several: {flag} 128,256."
            ) from None
        if numbers[-1] < minimum:
            raise FastViTError(f"{flag} is {numbers[-1]}.", f"Pass {minimum} or more.")
        if maximum is not None and numbers[-1] > maximum:
            raise FastViTError(f"{flag} is {numbers[-1]}.", f"Pass {minimum} to {maximum}.")
    return tuple(dict.fromkeys(numbers))
