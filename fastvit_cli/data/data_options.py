"""Options that say which images are taken, and how they are read."""

from dataclasses import dataclass
from typing import Any

from fastvit_cli.errors import FastViTError
from fastvit_cli.options import PANEL_DATA, PANEL_OUTPUT, check_values, option

FAST, PIL = "fast", "pil"  # ways to transform images
RANDOM = "random"  # a filter drawn for each training image
MAX_BAD_IMAGES = 1.0


def exif_option(default_text: str) -> Any:
    """The `--exif` of a command."""
    return option(None, "Turn images upright by their EXIF orientation.", panel=PANEL_DATA, default_text=default_text)


def data_option(default_text: str) -> Any:
    """The `--data` of a command."""
    return option(
        None,
        "Folder with train/ and val/ (or valid/, validation/), each with one folder a class, or with class folders "
        "alone; a CSV file with path,label or path,label,split; hfds/NAME, torch/NAME, wds/FOLDER or tfds/NAME for a "
        "data set that timm reads; or demo.",
        panel=PANEL_DATA,
        metavar="FOLDER",
        default_text=default_text,
    )


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which images, and what lists and reads them."""

    data: str | None = data_option("what the checkpoint was trained on, else $FASTVIT_DATA, else demo")
    class_map: str | None = option(
        None,
        "Index of each class folder: a text file with one folder a line, or JSON {folder: index}.",
        panel=PANEL_DATA,
        metavar="FILE",
        default_text="sorted by name",
    )
    workers: int | None = option(
        None,
        "Processes that decode images; 0 decodes in this one.",
        panel=PANEL_DATA,
        minimum=0,
        default_text="cores - 1, at most 8",
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig(SourceConfig):
    """See the help texts. Shared by `train` and `validate`."""

    transforms: str = option(
        FAST,
        "fast computes on uint8 arrays; pil gives timm's exact pixels at half the speed.",
        panel=PANEL_DATA,
        choices=(FAST, PIL),
    )
    exif: bool | None = exif_option("as the model's file says, else not, as published accuracies")
    max_bad_images: float = option(
        MAX_BAD_IMAGES,
        "Percent of the images that may be unreadable before it is an error.",
        panel=PANEL_DATA,
        minimum=0.0,
        maximum=100.0,
    )
    check_data: bool = option(False, "Only look at the images, as fastvit check does.", panel=PANEL_DATA)


@dataclass(frozen=True, kw_only=True)
class CheckConfig(SourceConfig):
    """See the help texts.

    Raises:
        FastViTError: a value that cannot be, or two data sets.
    """

    folder: str | None = option(None, "The data set: what --data takes.", metavar="DATA", positional=True)
    data: str | None = data_option("$FASTVIT_DATA, else demo")
    strict: bool = option(
        False, "Exit with 1 where images of train are in another split too, or one image is in two classes."
    )
    report: str | None = option(
        None,
        "Folder for a page of what was found, with pictures: index.html, results.json.",
        panel=PANEL_OUTPUT,
        metavar="FOLDER",
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.folder is not None and self.data is not None:
            raise FastViTError("The data is named twice, by DATA and by --data.", "Pass one of them.")
