"""What `export` and `reparam` can be asked for."""

from dataclasses import dataclass

from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.formats import FORMATS
from fastvit_cli.options import PANEL_DATA, PANEL_OUTPUT, ModelConfig, option, output_option

LAYOUTS = ("native", "timm", "reference")
FUSIONS = ("branches", "all")
PRECISIONS = ("fp32", "fp16")
PANEL_FORMAT = "Format"
PANEL_FUSING = "Fusing"


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ModelConfig):
    """Export of a model to another format."""

    format: str = option("onnx", "File format to write.", choices=tuple(FORMATS), panel=PANEL_FORMAT)
    precision: str | None = option(
        None,
        "Number format of weights and arithmetic.",
        choices=PRECISIONS,
        panel=PANEL_FORMAT,
        default_text="fp16 for coreml, fp32 for onnx",
    )
    img_size: int | None = option(
        None,
        "Side of the square input, in pixels.",
        minimum=32,
        panel=PANEL_FORMAT,
        default_text="what the model was trained for",
    )
    batch_size: int = option(
        1, "Images per call; Core ML takes 1, ONNX any number whatever is given.", minimum=1, panel=PANEL_FORMAT
    )
    headless: bool = option(False, "Give the pooled embedding instead of logits.", panel=PANEL_FORMAT)
    output: str | None = output_option(
        "File to write.", default_text="beside the weights file, else fastvit_<variant> in the current folder"
    )
    force: bool = option(False, "Overwrite an existing output.", panel=PANEL_OUTPUT)

    def __post_init__(self) -> None:
        super().__post_init__()
        target = FORMATS[self.format]
        if self.precision is not None and self.precision not in target.precisions:
            raise FastViTError(
                f"{target.title} cannot be exported with --precision {self.precision}.",
                f"Pass --precision with one of: {', '.join(target.precisions)}.",
            )
        if target.max_batch_size is not None and self.batch_size > target.max_batch_size:
            raise FastViTError(
                f"A {target.title} image input takes one image at a time, not {self.batch_size}.",
                "Leave --batch-size out, or pass --format onnx.",
            )

    @property
    def resolved_precision(self) -> str:
        """The precision asked for, else the format's own."""
        return self.precision or FORMATS[self.format].precisions[0]


@dataclass(frozen=True, kw_only=True)
class ReparamConfig(ModelConfig):
    """Fusing the branches of a trained model into single convolutions."""

    fuse: str = option(
        "branches",
        "branches: as timm and the reference fuse; all: BatchNorms and layer scales too, for this program only.",
        choices=FUSIONS,
        panel=PANEL_FUSING,
    )
    layout: str = option(
        "native",
        "Key names to write: native (which are timm's), timm or reference.",
        choices=LAYOUTS,
        panel=PANEL_FUSING,
    )
    data: str | None = option(
        None,
        "Folder whose val/ images join the random ones in the proof, or demo.",
        panel=PANEL_DATA,
        metavar="FOLDER",
        default_text="random images only",
    )
    output: str | None = output_option(
        "File to write.", default_text="<name>_fused.safetensors beside the weights file"
    )
    force: bool = option(False, "Overwrite an existing output.", panel=PANEL_OUTPUT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fuse == "all" and self.layout != "native":
            owner = "timm" if self.layout == "timm" else "the reference program"
            raise FastViTError(
                f"{owner[0].upper()}{owner[1:]} has no place for an all-fused model.",
                "Leave out --fuse all, or pass --layout native.",
            )
