"""Writing a network in the native layout, with its metadata, as safetensors."""

from dataclasses import replace
from pathlib import Path

from fastvit_cli.checkpoints.files import tensors_checksum, write_safetensors
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.models.network import FastViT


def save_checkpoint(path: Path, network: FastViT, info: ModelInfo) -> None:
    """Write weights and metadata; the file appears whole or not at all.

    An unfused or branch-fused file also loads in timm: `timm.create_model("fastvit_<variant>")`, for the fused
    form with `inference_mode=True`.

    Raises:
        FastViTError: the folder cannot be written.
    """
    assert (info.variant, info.num_classes) == (network.variant.name, network.num_classes)
    tensors = network.state_dict()
    info = replace(info, form=network.form, checksum=tensors_checksum(tensors))
    write_safetensors(path, tensors, {METADATA_KEY: info.to_json()})
