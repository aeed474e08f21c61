"""From any file a FastViT lives in to a network with its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.checkpoints.files import read_weights, tensors_checksum
from fastvit_cli.checkpoints.hub_folder import with_hub_config
from fastvit_cli.checkpoints.layouts import Layout, check_fits, detect_layout, to_native
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo, looks_like_ours
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import default_preprocessing


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode, what is known of it, and how its file was recognised.

    Attributes:
        notes: what was peeled, chosen or passed over in the file, for the user to read.
    """

    network: FastViT
    info: ModelInfo
    layout: Layout
    path: Path | None
    notes: tuple[str, ...] = ()


def load_model(path: str | Path, key: str | None = None) -> FastViT:
    """Load a network from any file a FastViT lives in, in evaluation mode and float32.

    The layout (native, timm, reference; unfused, fused) and the variant are recognised from the file.

    Args:
        key: the name of the network in a file that holds several, as `--ckpt-key` takes it.

    Raises:
        FastViTError: no such file, not a FastViT, or several.
    """
    return load_checkpoint(Path(path), key=key).network


def load_checkpoint(path: Path, prefer_ema: bool = True, key: str | None = None) -> LoadedModel:
    """Load network and metadata from a weights file; what that does not say, timm's config.json beside it may.

    Args:
        prefer_ema: take the EMA weights where a trainer saved both.
        key: the name of the network in a file that holds several; None where there is no doubt.

    Raises:
        FastViTError: no such file, not a FastViT, or changed since it was written.
    """
    file = read_weights(path, prefer_ema, key)
    stored = _stored_info(path, file.metadata)
    if stored is not None and stored.checksum not in (None, tensors_checksum(file.tensors)):
        raise FastViTError(
            f"The tensors in '{path}' are not those that were written: their checksum differs.",
            "The file was damaged or edited: copy it again from its source.",
        )
    loaded = from_tensors(file.tensors, f"'{path}'")
    if stored is not None:
        found = loaded.info
        if (stored.variant, stored.form, stored.num_classes) != (found.variant, found.form, found.num_classes):
            raise FastViTError(
                f"The metadata of '{path}' says {stored.variant}, {stored.form}, {stored.num_classes} classes; "
                f"its tensors are {loaded.layout.describe()}.",
                "The file was edited: copy it again from its source.",
            )
        loaded = replace(loaded, info=stored)
    else:
        loaded = replace(loaded, info=with_hub_config(loaded.info, path))
    return replace(loaded, path=path, notes=file.notes)


def _stored_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo | None:
    """What a file of ours says; None for a file of another program."""
    if METADATA_KEY in metadata:
        return ModelInfo.from_json(metadata[METADATA_KEY])
    if any(map(looks_like_ours, metadata.values())):
        raise FastViTError(
            f"The fastvit metadata in '{path}' has lost its name.",
            "The file was damaged or edited: copy it again from its source.",
        )
    return None


def from_tensors(tensors: Mapping[str, Tensor], where: str) -> LoadedModel:
    """Build the network that a state dict of any layout belongs to.

    Raises:
        FastViTError: not a FastViT, or keys, shapes or values that do not fit.
    """
    layout = detect_layout(tensors, where)
    native = to_native(tensors, layout)
    with torch.device("meta"):  # random weights would take most of the time, and disturb the seed
        network = create_model(layout.variant.name, num_classes=layout.num_classes, fused=layout.form != "unfused")
        network = fuse_all(network) if layout.form == "all" else network.eval()
    expected = network.state_dict()
    for name, value in expected.items():  # older programs leave these counters out, and nothing here reads them
        if name.endswith(".num_batches_tracked"):
            native.setdefault(name, torch.zeros(value.shape, dtype=value.dtype))
    check_fits(native, expected, layout, where)
    # Copies, for a network may be changed in place; float16 and bfloat16 files become float32.
    whole = {
        name: value.to("cpu", expected[name].dtype, copy=True, memory_format=torch.contiguous_format)
        for name, value in native.items()
    }
    network.load_state_dict(whole, assign=True)
    info = ModelInfo(
        variant=layout.variant.name,
        form=layout.form,
        num_classes=layout.num_classes,
        preprocessing=default_preprocessing(layout.variant),
    )
    return LoadedModel(network, info, layout, path=None)
