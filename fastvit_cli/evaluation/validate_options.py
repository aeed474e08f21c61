"""Options of `fastvit validate` and `fastvit predict`."""

from dataclasses import dataclass

from fastvit_cli.data.data_options import DataConfig, exif_option
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ENGINES
from fastvit_cli.options import (
    MAX_IMG_SIZE,
    PANEL_DATA,
    PANEL_OUTPUT,
    ModelConfig,
    option,
    output_option,
    processes_option,
    trust_option,
)
from fastvit_cli.runtimes.engines import AUTO

TABLE, CSV, JSON_LINES = PRINT_FORMATS = ("table", "csv", "jsonl")


@dataclass(frozen=True, kw_only=True)
class EngineConfig(ModelConfig):
    """What runs the model, and on how many images at once."""

    engine: str = option(
        AUTO,
        "What computes the model; auto takes the fastest that is right, torch a checkpoint as it is in the file.",
        choices=(AUTO, *ENGINES),
    )
    batch_size: int = option(64, "Images a batch.", minimum=1)
    trust: bool = trust_option()
    img_size: int | None = option(
        None,
        "Input side in pixels.",
        panel=PANEL_DATA,
        minimum=32,
        maximum=MAX_IMG_SIZE,
        default_text="what the model was trained for",
    )


@dataclass(frozen=True, kw_only=True)
class ValidateConfig(EngineConfig, DataConfig):
    """See the help texts."""

    compare: str | None = option(
        None,
        "Another model to run on the same images, both as in their files: agreement, the images that flip.",
        panel="Model",
        metavar="FILE",
    )
    split: str = option("val", "Which split of the data: val, train or test.", panel=PANEL_DATA, metavar="NAME")
    real_labels: str | None = option(
        None, "ImageNet-ReaL's real.json: accuracy against all right labels too.", panel=PANEL_DATA, metavar="FILE"
    )
    valid_labels: str | None = option(
        None,
        "Text file of the classes the model may choose from, one index or name a line.",
        panel=PANEL_DATA,
        metavar="FILE",
    )
    report: str | None = option(
        None,
        "Folder for a report: index.html, results.json, predictions.csv and pictures.",
        panel=PANEL_OUTPUT,
        metavar="FOLDER",
    )
    output: str | None = output_option("File for the table of several models: .csv, .json or .md.")
    force: bool = option(False, "Overwrite an existing output.", panel=PANEL_OUTPUT)
    nproc_per_node: int | None = processes_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.real_labels is not None and self.valid_labels is not None:
            raise FastViTError(
                "ReaL labels are of all classes, and --valid-labels leaves some out.",
                "Pass --real-labels or --valid-labels, one at a time.",
            )


@dataclass(frozen=True, kw_only=True)
class PredictConfig(EngineConfig):
    """See the help texts."""

    images: tuple[str, ...] = option(
        (), "Images, folders of images, or quoted globs.", metavar="IMAGE", positional=True
    )
    exif: bool | None = exif_option("as the model's file says, else turned")
    top_k: int = option(5, "Classes an image, the most probable first.", minimum=1)
    format: str = option(
        TABLE,
        "How to print; jsonl is one JSON object a line.",
        choices=PRINT_FORMATS,
        panel=PANEL_OUTPUT,
    )
