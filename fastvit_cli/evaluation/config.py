"""Options of `fastvit validate`."""

from dataclasses import dataclass

from fastvit_cli.options import PANEL_DATA, ModelConfig, option


@dataclass(frozen=True, kw_only=True)
class ValidateConfig(ModelConfig):
    """See the help texts."""

    data: str | None = option(
        None,
        "Folder with val/ (or validation/), or demo.",
        panel=PANEL_DATA,
        metavar="FOLDER",
        default_text="what the checkpoint was trained on, else $FASTVIT_DATA, else demo",
    )
    split: str = option("val", "Which split of the data: val, train or test.", panel=PANEL_DATA, metavar="NAME")
    img_size: int | None = option(
        None, "Input side in pixels.", panel=PANEL_DATA, minimum=32, default_text="what the model was trained for"
    )
    batch_size: int = option(64, "Images a batch.", minimum=1)
    workers: int | None = option(
        None, "Processes that decode images; 0 decodes in this one.", minimum=0, default_text="cores - 1, at most 8"
    )
