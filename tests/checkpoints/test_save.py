"""What we write: every form comes back exactly, timm reads it, and a failure leaves the old file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from helpers.golden import assert_logits, facts
from helpers.modules import random_network
from safetensors import SafetensorError, safe_open

from fastvit_cli import load_model
from fastvit_cli.checkpoints.files import tensors_checksum
from fastvit_cli.checkpoints.layouts import Naming
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing

SAVE_FILE = "safetensors.torch.save_file"


def assert_same(actual: FastViT, expected: FastViT) -> None:
    ours, theirs = actual.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def unfused(network: FastViT) -> FastViT:
    return network


@pytest.mark.parametrize(("make", "form"), [(unfused, "unfused"), (reparameterize, "branches"), (fuse_all, "all")])
@pytest.mark.parametrize(("variant", "naming"), [("t8", "native"), ("sa12", "native"), ("sa12", "reference")])
@torch.no_grad()
def test_every_form_comes_back(
    tmp_path: Path, variant: str, naming: Naming, make: Callable[[FastViT], FastViT], form: str
) -> None:
    network = make(random_network(variant, num_classes=3).float())
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, network, ModelInfo(variant, "unfused", 3, Preprocessing()), naming)
    loaded = load_checkpoint(path)
    assert_same(loaded.network, network)
    assert loaded.layout.form == loaded.info.form == loaded.network.form == form, "the form is the network's own"
    assert loaded.layout.naming == naming
    assert loaded.info.fused == (form != "unfused")
    x = torch.randn(1, 3, 32, 32)
    logits = loaded.network(x)
    assert logits.isfinite().all()
    assert torch.equal(logits, network.eval()(x))


def test_metadata_comes_back(saved: Path, network: FastViT, info: ModelInfo) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.info == replace(info, checksum=tensors_checksum(network.state_dict()))
    assert loaded.path == saved
    assert_same(loaded.network, network)


def test_load_model_takes_text_and_path(saved: Path, network: FastViT) -> None:
    for path in (saved, str(saved)):
        loaded = load_model(path)
        assert not loaded.training
        assert_same(loaded, network)


def test_under_the_references_names(network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "r.safetensors", network, info, "reference")
    keys = safetensors.torch.load_file(tmp_path / "r.safetensors").keys()
    assert keys == facts()["state_dicts"]["t8"]["unfused"].keys()
    assert load_checkpoint(tmp_path / "r.safetensors").info.class_names == info.class_names


def test_loading_does_not_touch_the_seed(saved: Path) -> None:
    """A run must not depend on which file it started from."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_model(saved)
    assert torch.equal(torch.rand(3), expected)


def test_without_classifier(tmp_path: Path) -> None:
    network = create_model("t8", num_classes=0)
    save_checkpoint(tmp_path / "b.safetensors", network, ModelInfo("t8", "unfused", 0, Preprocessing()))
    loaded = load_checkpoint(tmp_path / "b.safetensors")
    assert loaded.layout.num_classes == 0
    assert "no classifier" in loaded.layout.describe()
    assert_same(loaded.network, network)


@torch.no_grad()
def test_timm_reads_it(saved: Path, network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    x = torch.randn(1, 3, 64, 64)
    theirs = timm.create_model("fastvit_t8", num_classes=4).eval()
    theirs.load_state_dict(safetensors.torch.load_file(saved), strict=True)
    assert_logits(theirs(x), network(x))

    fused_path = tmp_path / "fused.safetensors"
    save_checkpoint(fused_path, reparameterize(network), info)
    theirs = timm.create_model("fastvit_t8", num_classes=4, inference_mode=True).eval()
    theirs.load_state_dict(safetensors.torch.load_file(fused_path), strict=True)
    assert_logits(theirs(x), network(x))


def test_timms_own_loader_reads_it(saved: Path, network: FastViT) -> None:
    theirs = timm.create_model("fastvit_t8", num_classes=4, checkpoint_path=str(saved))
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in theirs.state_dict().items())


def test_a_network_in_training_is_not_disturbed(tmp_path: Path, info: ModelInfo) -> None:
    network = create_model("t8", num_classes=4).train()
    save_checkpoint(tmp_path / "t.safetensors", network, info)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_saving_twice_writes_the_same_bytes(saved: Path, network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "again.safetensors", network, info)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_weights_that_are_views_of_one_storage(network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    """As flat optimizers keep them."""
    flattened = copy.deepcopy(network)
    parameters = list(flattened.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, view in zip(parameters, flat.split(sizes), strict=True):
        parameter.data = view.view_as(parameter)
    save_checkpoint(tmp_path / "flat.safetensors", flattened, info)
    assert_same(load_checkpoint(tmp_path / "flat.safetensors").network, network)


def test_weights_with_channels_last_in_memory(network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    turned = copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert not turned.stem[0].conv_kxk[0].conv.weight.is_contiguous()
    save_checkpoint(tmp_path / "last.safetensors", turned, info)
    assert_same(load_checkpoint(tmp_path / "last.safetensors").network, network)


# --- a write that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (SafetensorError("I/O error: No space left on device"), FastViTError, "No space left on device"),
        (OSError(28, "No space left on device"), FastViTError, "No space left on device"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (RuntimeError("boom"), RuntimeError, "boom"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failure_midway_leaves_the_old_file(
    saved: Path,
    network: FastViT,
    info: ModelInfo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    expected: type[BaseException],
    says: str | None,
) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(saved.read_bytes())

    def fail(_tensors: Any, filename: Path, **_: Any) -> None:
        Path(filename).write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(SAVE_FILE, fail)
    with pytest.raises(expected, match=says):
        save_checkpoint(path, network, info)
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path], "no temporary file stays behind"


def test_into_a_folder_that_is_not_there(network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1" / "best.safetensors"
    save_checkpoint(path, network, info)
    assert load_checkpoint(path).info.class_names == info.class_names


def test_info_must_be_of_the_network(network: FastViT, info: ModelInfo, tmp_path: Path) -> None:
    for wrong in (replace(info, variant="sa12"), replace(info, num_classes=1000)):
        with pytest.raises(AssertionError):
            save_checkpoint(tmp_path / "m.safetensors", network, wrong)
    assert not list(tmp_path.iterdir())


# --- the header -----------------------------------------------------------------------------------


def test_header_is_one_json_text(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == [METADATA_KEY]
    fields = json.loads(metadata[METADATA_KEY])
    assert fields["version"] == 1
    assert fields["variant"] == "t8"
    assert fields["form"] == "unfused"
    assert fields["preprocessing"]["img_size"] == 192
    assert len(fields["checksum"]) == 64
