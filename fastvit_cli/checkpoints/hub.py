"""Published weights, through timm and huggingface_hub."""

from dataclasses import dataclass, replace
from typing import Any, cast

from fastvit_cli.checkpoints.load import LoadedModel, from_tensors
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import VARIANTS, Variant, get_variant

DEFAULT_TAG = "apple_dist_in1k"
TAGS = (DEFAULT_TAG, "apple_in1k")
MOBILECLIP_TAG = "apple_mclip"
HUB_PREFIX = "hf-hub:"


@dataclass(frozen=True)
class HubModel:
    """Name as timm takes it: `fastvit_t8.apple_dist_in1k` or `hf-hub:org/name`."""

    timm_name: str

    @property
    def published(self) -> tuple[Variant, str] | None:
        """Variant and tag of weights that `published_model` names, also under `hf-hub:timm/`; None for any others."""
        name, _, tag = self.timm_name.removeprefix(f"{HUB_PREFIX}timm/").removeprefix("fastvit_").partition(".")
        row = VARIANTS.get(name)
        return None if row is None or tag not in _tags(row) else (row, tag)

    @property
    def published_top1(self) -> float | None:
        """Published ImageNet-1k top-1 in percent, where the name says which row of the table it is."""
        if self.published is None:
            return None
        row, tag = self.published
        return row.top1_distilled if tag == DEFAULT_TAG else row.top1


def published_model(variant: str, tag: str) -> HubModel:
    """The published weights of a variant.

    Raises:
        FastViTError: unknown variant or tag.
    """
    row = get_variant(variant)
    if tag not in _tags(row):
        raise FastViTError(
            f"There are no published weights of {row.name} tagged '{tag}'.", f"Pass one of: {', '.join(_tags(row))}."
        )
    return HubModel(f"fastvit_{row.name}.{tag}")


def _tags(row: Variant) -> tuple[str, ...]:
    return (MOBILECLIP_TAG,) if row.top1 is None else TAGS


def load_hub(model: HubModel) -> LoadedModel:
    """Download (or take from the local cache) and load published weights.

    Raises:
        FastViTError: not reachable and not cached, or not a FastViT.
    """
    import timm

    try:
        network = timm.create_model(model.timm_name, pretrained=True)
    except Exception as error:  # timm, huggingface_hub and the HTTP library raise unrelated types here
        raise FastViTError(
            f"'{model.timm_name}' can be neither downloaded nor found in the local cache ({type(error).__name__}).",
            "Connect to the network, or download the file elsewhere and pass --ckpt FILE.",
        ) from error
    loaded = from_tensors(network.state_dict(), f"'{model.timm_name}'")
    config = cast(dict[str, Any], network.pretrained_cfg)
    preprocessing = Preprocessing(
        img_size=config["input_size"][-1],
        # timm says .90 of the published sa36, the reference .95.
        crop_pct=config["crop_pct"] if model.published is None else model.published[0].crop_pct,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return replace(loaded, info=replace(loaded.info, preprocessing=preprocessing, data=None))
