"""Published weights, through huggingface_hub."""

from dataclasses import dataclass, replace
from pathlib import Path

from fastvit_cli.checkpoints.hub_folder import CONFIG, WEIGHTS
from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.variants import VARIANTS, Variant, get_variant

DEFAULT_TAG = "apple_dist_in1k"
TAGS = (DEFAULT_TAG, "apple_in1k")
MOBILECLIP_TAG = "apple_mclip"
HUB_PREFIX = "hf-hub:"
FOLDER_PREFIX = "local-dir:"  # timm's way to name a folder


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
    return (MOBILECLIP_TAG,) if row.projects else TAGS


def load_hub(model: HubModel) -> LoadedModel:
    """Download (or take from the local cache) and load published weights, used as the config.json beside them says.

    Raises:
        FastViTError: not reachable and not cached, or not a FastViT.
    """
    loaded = load_checkpoint(_download(model))
    info = replace(loaded.info, data=None)
    if model.published is not None:  # timm says .90 of the published sa36, the reference .95
        info = replace(info, preprocessing=replace(info.preprocessing, crop_pct=model.published[0].crop_pct))
    return replace(loaded, info=info, path=None)


def _download(model: HubModel) -> Path:
    """The weights in the local cache of huggingface_hub, their config.json beside them."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name = model.timm_name.removeprefix(HUB_PREFIX)
    repository, _, revision = (name if "/" in name else f"timm/{name}").partition("@")

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(repository, file, revision=revision or None, library_name="fastvit"))

    try:
        try:
            fetch(CONFIG)
        except LocalEntryNotFoundError:
            # timm itself caches published weights without it, and of these we know what it says.
            if model.published is None:
                raise
        except EntryNotFoundError:
            pass  # the repository has none
        try:
            return fetch(WEIGHTS[0])
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return fetch(WEIGHTS[1])
    except Exception as error:  # huggingface_hub and the HTTP library raise unrelated types here
        raise FastViTError(
            f"'{model.timm_name}' can be neither downloaded nor found in the local cache ({type(error).__name__}).",
            "Connect to the network, or download its files elsewhere and pass --ckpt FOLDER.",
        ) from error
