"""Writing a network with its metadata, as safetensors."""

from dataclasses import replace
from pathlib import Path

from fastvit_cli.checkpoints.files import tensors_checksum, write_safetensors
from fastvit_cli.checkpoints.layouts import Naming, to_reference
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.models.network import FastViT


def save_checkpoint(path: Path, network: FastViT, info: ModelInfo, naming: Naming = "native") -> None:
    """Write weights and metadata; the file appears whole or not at all.

    An unfused or branch-fused file under native names also loads in timm: `timm.create_model("fastvit_<variant>")`,
    for the fused form with `inference_mode=True`. One under the reference's names loads in the reference program.

    Raises:
        FastViTError: the folder cannot be written.
    """
    assert (info.variant, info.num_classes) == (network.variant.name, network.num_classes)
    tensors = network.state_dict()
    if naming == "reference":
        tensors = to_reference(tensors, network.variant)
    info = replace(info, form=network.form, checksum=tensors_checksum(tensors))
    write_safetensors(path, tensors, {METADATA_KEY: info.to_json()})
