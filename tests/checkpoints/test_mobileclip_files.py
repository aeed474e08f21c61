"""Files of MobileCLIP's image encoders: ours, timm's, and those of Apple's MobileCLIP program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from helpers.modules import random_network
from timm.models.fastvit import checkpoint_filter_fn
from torch import Tensor

from fastvit_cli.checkpoints.layouts import Naming, detect_layout, to_reference
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import VARIANTS, get_variant

MCI0 = get_variant("mci0")
PREFIX = "image_encoder.model."


@pytest.fixture(scope="module")
def mci0() -> FastViT:
    """With weights that matter everywhere; the projection has no bias, as in MobileCLIP. Tests leave it as it is."""
    network = random_network("mci0", num_classes=512).float()
    torch.nn.init.zeros_(network.head.fc.bias)
    return network


def mobileclip_file(network: FastViT) -> dict[str, Tensor]:
    """The state dict of a whole MobileCLIP with this image encoder."""
    tensors = to_reference(network.state_dict(), MCI0)
    del tensors["head.bias"]
    tensors["head.proj"] = tensors.pop("head.weight").T
    encoder = {PREFIX + key: value for key, value in tensors.items()}
    return {"logit_scale": torch.ones(1), "text_encoder.embedding_layer.weight": torch.ones(4, 2), **encoder}


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(actual[key], value)] == []


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("num_classes", [0, 7])
def test_every_variant_is_recognised_by_its_shapes(name: str, fused: bool, num_classes: int) -> None:
    with torch.device("meta"):
        tensors = create_model(name, num_classes=num_classes, fused=fused).state_dict()
    for naming, named in (("native", tensors), ("reference", to_reference(tensors, VARIANTS[name]))):
        layout = detect_layout(named, "it")
        assert (layout.variant.name, layout.naming, layout.num_classes) == (name, naming, num_classes)
        assert layout.form == ("branches" if fused else "unfused")


@pytest.mark.parametrize("naming", ["native", "reference"])
@pytest.mark.parametrize("fused", [False, True])
def test_round_trip(mci0: FastViT, tmp_path: Path, fused: bool, naming: Naming) -> None:
    network = reparameterize(mci0) if fused else mci0
    info = ModelInfo("mci0", network.form, 512, default_preprocessing(MCI0))
    save_checkpoint(tmp_path / "m.safetensors", network, info, naming)
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.layout.naming == naming
    assert replace(loaded.info, checksum=None) == info
    assert_same(loaded.network.state_dict(), network.state_dict())


@pytest.mark.parametrize("fused", [False, True])
def test_file_of_the_mobileclip_program(mci0: FastViT, tmp_path: Path, fused: bool) -> None:
    network = reparameterize(mci0) if fused else mci0
    content = mobileclip_file(network)
    kernel = "lkb_reparam.weight" if fused else "lkb_origin.conv.weight"
    some = {  # as its modules define them
        f"network.1.proj.0.{kernel}",
        "network.3.proj.0.se.fc1.weight",
        "network.6.reparam_conv.weight" if fused else "network.6.pe.weight",
        "network.7.0.convffn.fc1.weight",
        "conv_exp.se.reduce.weight",
        "head.proj",
    }
    assert some <= {key.removeprefix(PREFIX) for key in content}
    torch.save(content, tmp_path / "mobileclip_s0.pt")
    loaded = load_checkpoint(tmp_path / "mobileclip_s0.pt")
    assert (loaded.layout.naming, loaded.layout.variant, loaded.layout.num_classes) == ("reference", MCI0, 512)
    assert loaded.info.preprocessing == default_preprocessing(MCI0)
    assert_same(loaded.network.state_dict(), network.state_dict())


def test_timm_reads_that_file_the_same_way(mci0: FastViT) -> None:
    with torch.device("meta"):
        theirs = timm.create_model("fastvit_mci0")
    assert_same(checkpoint_filter_fn(mobileclip_file(mci0), theirs), dict(mci0.state_dict()))


@pytest.mark.parametrize("projection", [torch.ones(()), torch.ones(1024), torch.ones(3, 512)])
def test_a_projection_that_does_not_fit(mci0: FastViT, tmp_path: Path, projection: Tensor) -> None:
    torch.save({**mobileclip_file(mci0), f"{PREFIX}head.proj": projection}, tmp_path / "bad.pt")
    with pytest.raises(FastViTError, match=r"recognised as fastvit_mci0.* keys differ: head\.fc\.") as caught:
        load_checkpoint(tmp_path / "bad.pt")
    assert "1 keys" in caught.value.message
