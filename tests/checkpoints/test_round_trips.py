"""Through another program's names and back: not one bit changes."""

from pathlib import Path

import pytest
import timm
import torch
from helpers.loaded import loaded_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.models.fusion import reparameterize
from fastvit_cli.models.network import FastViT

pytestmark = pytest.mark.quick


def _assert_identical(network: FastViT, expected: dict[str, Tensor]) -> None:
    found = network.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("variant", ["t8", "sa12"])
def test_native_to_reference_to_native(variant: str, fused: bool, tmp_path: Path) -> None:
    loaded = loaded_model(variant)
    network = reparameterize(loaded.network) if fused else loaded.network
    save_checkpoint(tmp_path / "reference.safetensors", network, loaded.info, "reference")
    assert any(name.startswith("patch_embed.0.") for name in load_file(tmp_path / "reference.safetensors"))
    _assert_identical(load_checkpoint(tmp_path / "reference.safetensors").network, network.state_dict())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("variant", ["t8", "sa12"])
def test_native_to_timm_to_native(variant: str, fused: bool, tmp_path: Path) -> None:
    loaded = loaded_model(variant)
    network = reparameterize(loaded.network) if fused else loaded.network
    save_checkpoint(tmp_path / "native.safetensors", network, loaded.info)
    theirs = timm.create_model(f"fastvit_{variant}", num_classes=5, inference_mode=fused)
    theirs.load_state_dict(load_file(tmp_path / "native.safetensors"))
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    _assert_identical(load_checkpoint(tmp_path / "timm.safetensors").network, network.state_dict())
