"""What `export` and `reparam` can be asked for."""

from dataclasses import dataclass, fields

from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import FORMATS
from fastvit_cli.options import MAX_IMG_SIZE, PANEL_DATA, PANEL_OUTPUT, ModelConfig, flag_of, option, output_option

LAYOUTS = ("native", "timm", "reference")
FUSIONS = ("branches", "all")
PRECISIONS = ("fp32", "fp16", "mixed", "int8")
COMPRESSIONS = ("palettize8", "palettize6", "palettize4", "int8", "int4")
DEPLOYMENT_TARGETS = ("iOS16", "iOS17", "iOS18")
DEFAULT_OPSET = 20  # the first with GELU as one operation; `runtimes.onnx_conversion.OPSET`, which loads torch
PANEL_FORMAT = "Format"
PANEL_COREML = "Core ML"
PANEL_ONNX = "ONNX"
PANEL_CHECK = "Check"
PANEL_FUSING = "Fusing"


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ModelConfig):
    """Export of a model to another format."""

    list: bool = option(False, "Show the formats and what each can be asked for, and stop.", panel=PANEL_FORMAT)
    format: str = option("onnx", "File format to write.", choices=tuple(FORMATS), panel=PANEL_FORMAT)
    precision: str | None = option(
        None,
        "Number format of weights and arithmetic; mixed keeps sensitive operations in fp32 (Core ML), int8 quantises "
        "what bears it (ONNX).",
        choices=PRECISIONS,
        panel=PANEL_FORMAT,
        default_text="fp16 for coreml, fp32 for the others",
    )
    img_size: int | None = option(
        None,
        "Side of the square input, in pixels.",
        minimum=32,
        maximum=MAX_IMG_SIZE,
        panel=PANEL_FORMAT,
        default_text="what the model was trained for",
    )
    batch_size: int = option(
        1,
        "Images per call of a Core ML package, which is fixed, and above 1 needs --tensor-input; the other formats "
        "take any number.",
        minimum=1,
        panel=PANEL_FORMAT,
    )
    headless: bool = option(False, "Give the pooled embedding instead of logits.", panel=PANEL_FORMAT)
    tensor_input: bool = option(
        False, "Take a normalised float32 tensor (batch, 3, H, W) instead of an RGB image.", panel=PANEL_COREML
    )
    logits: bool = option(False, "Give logits instead of a class label with probabilities.", panel=PANEL_COREML)
    compress: str | None = option(
        None,
        "Store weights that bear it in fewer bits: tables of 256, 64 or 16 values, or linear int8 or int4.",
        choices=COMPRESSIONS,
        panel=PANEL_COREML,
    )
    deployment_target: str | None = option(
        None,
        "Oldest system that must run the package.",
        choices=DEPLOYMENT_TARGETS,
        panel=PANEL_COREML,
        default_text="iOS16 (macOS 13); iOS18 with --compress int4",
    )
    zip: bool = option(False, "Pack it into one .mlpackage.zip beside it too.", panel=PANEL_COREML)
    opset: int = option(DEFAULT_OPSET, "Version of the ONNX operations.", minimum=18, maximum=23, panel=PANEL_ONNX)
    image_input: bool = option(
        False, "Take raw uint8 images (batch, H, W, 3) and normalise them inside.", panel=PANEL_ONNX
    )
    data: str | None = option(
        None,
        "Images for the check, and from train/ to see which layers bear --precision int8 or --compress.",
        panel=PANEL_DATA,
        metavar="DATA",
        default_text="what the model was trained on, else $FASTVIT_DATA, else demo, which is no help with fewer bits",
    )
    debug_drift: bool = option(
        False, "Compare layer by layer, and name the first one that differs.", panel=PANEL_CHECK
    )
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
        self._check_options_of_the_format()
        if self.format == "coreml":
            self._check_core_ml()

    def _check_options_of_the_format(self) -> None:
        """Every option that only some formats have must be one of this format's."""
        legal = FORMATS[self.format].options
        for item in fields(self):
            owners = [name for name, target in FORMATS.items() if item.name in target.options]
            if owners and item.name not in legal and getattr(self, item.name) != item.default:
                own = ", ".join(map(flag_of, legal)) or "no options of its own"
                raise FastViTError(
                    f"{flag_of(item.name)} is not for {FORMATS[self.format].title}, but for {' and '.join(owners)}.",
                    f"Leave it out: {self.format} takes {own}. See fastvit export --list.",
                )

    def _check_core_ml(self) -> None:
        if self.batch_size > 1 and not self.tensor_input:
            raise FastViTError(
                f"A Core ML image input takes one image at a time, not {self.batch_size}.",
                "Add --tensor-input, leave --batch-size out, or pass --format onnx.",
            )
        if self.batch_size > 1 and not (self.logits or self.headless):
            raise FastViTError(
                "A Core ML classifier names the class of one image at a time.",
                "Add --logits, or leave --batch-size out.",
            )
        if self.compress == "int4" and self.deployment_target not in (None, "iOS18"):
            raise FastViTError(
                f"--compress int4 needs iOS 18, not {self.deployment_target}.",
                "Pass --deployment-target iOS18, or --compress palettize4.",
            )
        if self.compress is not None and self.precision == "mixed":
            raise FastViTError(
                "--compress goes with one precision, not with mixed.", "Leave out --precision, or pass fp16 or fp32."
            )

    @property
    def resolved_precision(self) -> str:
        """The precision asked for, else the format's own."""
        return self.precision or FORMATS[self.format].precisions[0]

    @property
    def is_lossy(self) -> bool:
        """Fewer bits than half precision, which can cost accuracy."""
        return self.precision == "int8" or self.compress is not None

    @property
    def resolved_target(self) -> str:
        """The deployment target asked for, else the oldest that can do what is asked."""
        return self.deployment_target or ("iOS18" if self.compress == "int4" else "iOS16")


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
