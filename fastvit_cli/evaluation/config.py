"""Options of `fastvit validate`."""

from dataclasses import dataclass

from fastvit_cli.data.config import DataConfig
from fastvit_cli.options import PANEL_DATA, ModelConfig, option


@dataclass(frozen=True, kw_only=True)
class ValidateConfig(ModelConfig, DataConfig):
    """See the help texts."""

    split: str = option("val", "Which split of the data: val, train or test.", panel=PANEL_DATA, metavar="NAME")
    img_size: int | None = option(
        None, "Input side in pixels.", panel=PANEL_DATA, minimum=32, default_text="what the model was trained for"
    )
    batch_size: int = option(64, "Images a batch.", minimum=1)
