"""Fusing files: what is written loads everywhere it should, and the proof can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from helpers.golden import facts
from helpers.loaded import SIZE, loaded_model, pixels, saved_model
from safetensors.torch import load_file
from torch import nn

from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters import reparam as reparam_module
from fastvit_cli.exporters.export_options import ReparamConfig
from fastvit_cli.exporters.outputs import Step
from fastvit_cli.exporters.reparam import fuse_and_prove
from fastvit_cli.models.modules import LayerScale
from fastvit_cli.models.variants import VARIANTS


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return saved_model(tmp_path_factory.mktemp("attention") / "best.safetensors", "sa12")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return saved_model(tmp_path_factory.mktemp("small") / "best.safetensors")


def _assert_same_metadata(path: Path, source: LoadedModel, form: str) -> None:
    info = load_checkpoint(path).info
    assert info.checksum not in (None, source.info.checksum)
    assert info == replace(source.info, form=form, checksum=info.checksum)


@pytest.mark.parametrize("name", ["small", "attention"])
def test_branches(name: str, request: pytest.FixtureRequest) -> None:
    model: LoadedModel = request.getfixturevalue(name)
    steps: list[Step] = []
    result = fuse_and_prove(ReparamConfig(), model, on_event=steps.append)
    assert model.path is not None
    output = model.path.with_name("best_fused.safetensors")
    assert result.output == str(output)
    assert result.passed
    assert result.max_abs_error > 0
    assert 0 < result.proof.relative_error < 1e-5
    assert result.proof.fusion_error_float64 < 1e-12
    assert result.size_before == model.path.stat().st_size
    assert result.size_after == output.stat().st_size < model.path.stat().st_size
    head = (1000 - 5) * (model.network.head.fc.in_features + 1)
    assert result.params_before == model.layout.variant.params - head
    assert result.params_after == model.layout.variant.params_fused - head
    assert [step.title for step in steps][1:] == ["Writing best_fused.safetensors", "Proving that nothing changed"]
    assert model.network.form == "unfused", "the caller's network is left alone"
    _assert_same_metadata(output, model, "branches")

    in_timm = timm.create_model(f"fastvit_{model.info.variant}", num_classes=5, inference_mode=True).eval()
    in_timm.load_state_dict(load_file(output), strict=True)
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(in_timm(images), model.network(images), rtol=0, atol=1e-5)


def test_reference_layout(attention: LoadedModel, tmp_path: Path) -> None:
    output = tmp_path / "reference.safetensors"
    result = fuse_and_prove(ReparamConfig(layout="reference", output=str(output)), attention)
    assert (result.passed, result.layout) == (True, "reference")
    assert set(load_file(output)) == set(facts()["state_dicts"][attention.info.variant]["fused"])
    _assert_same_metadata(output, attention, "branches")


def test_all(attention: LoadedModel, tmp_path: Path) -> None:
    output = tmp_path / "all.safetensors"
    result = fuse_and_prove(ReparamConfig(fuse="all", output=str(output)), attention)
    assert result.passed
    assert result.proof.fusion_error_float64 < 1e-12
    assert result.params_after < attention.layout.variant.params_fused
    assert load_checkpoint(output).network.form == "all"
    _assert_same_metadata(output, attention, "all")


def test_a_fused_file_is_converted_but_not_fused_again(small: LoadedModel, tmp_path: Path) -> None:
    fused, all_fused = tmp_path / "f.safetensors", tmp_path / "a.safetensors"
    fuse_and_prove(ReparamConfig(output=str(fused)), small)
    loaded = load_checkpoint(fused)
    for options in ({}, {"layout": "timm"}):
        with pytest.raises(FastViTError, match="is fused already") as error:
            fuse_and_prove(ReparamConfig(output=str(tmp_path / "x.safetensors"), **options), loaded)
        assert "--fuse all" in error.value.hint

    renamed = tmp_path / "r.safetensors"
    assert fuse_and_prove(ReparamConfig(layout="reference", output=str(renamed)), loaded).max_abs_error == 0.0
    back = fuse_and_prove(ReparamConfig(output=str(tmp_path / "b.safetensors")), load_checkpoint(renamed))
    assert back.passed
    assert load_file(back.output).keys() == load_file(fused).keys()

    assert fuse_and_prove(ReparamConfig(fuse="all", output=str(all_fused)), loaded).passed
    for fuse in ("branches", "all"):
        with pytest.raises(FastViTError, match="all fused already"):
            fuse_and_prove(
                ReparamConfig(fuse=fuse, output=str(tmp_path / "x.safetensors")), load_checkpoint(all_fused)
            )
    assert not (tmp_path / "x.safetensors").exists()


def test_existing_output_is_kept_unless_forced(small: LoadedModel, tmp_path: Path) -> None:
    output = tmp_path / "mine.safetensors"
    output.write_text("precious")
    with pytest.raises(FastViTError, match="exists"):
        fuse_and_prove(ReparamConfig(output=str(output)), small)
    assert output.read_text() == "precious"
    assert fuse_and_prove(ReparamConfig(output=str(output), force=True), small).passed


def test_unwritable_output(small: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FastViTError, match="Cannot write to"):
        fuse_and_prove(ReparamConfig(output=str(tmp_path / "file" / "a.safetensors")), small)


def test_a_wrong_file_fails_the_proof(small: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_wrongly(path: Path, network: torch.nn.Module, *rest: object) -> None:
        with torch.no_grad():
            network.stages[2].blocks[1].token_mixer.reparam_conv.weight[7] *= 1.01
        save_checkpoint(path, network, *rest)

    monkeypatch.setattr(reparam_module, "save_checkpoint", save_wrongly)
    result = fuse_and_prove(ReparamConfig(output=str(tmp_path / "a.safetensors")), small)
    assert not result.passed
    assert result.proof.fusion_error_float64 < 1e-12, "the fusion was right; the file was not"
    assert result.proof.relative_error > 1e-5


@pytest.mark.parametrize("wrong", [False, True])
def test_a_head_of_zeros_is_proved_too(tmp_path: Path, wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network starts whose classifier begins at zero."""
    model = loaded_model("t8")
    torch.nn.init.zeros_(model.network.head.fc.weight)
    torch.nn.init.zeros_(model.network.head.fc.bias)

    def save_wrongly(path: Path, network: torch.nn.Module, *rest: object) -> None:
        with torch.no_grad():
            network.head.fc.bias += 0.1
        save_checkpoint(path, network, *rest)

    if wrong:
        monkeypatch.setattr(reparam_module, "save_checkpoint", save_wrongly)
    result = fuse_and_prove(ReparamConfig(output=str(tmp_path / "zero.safetensors")), model)
    assert result.passed is not wrong
    assert result.max_abs_error == pytest.approx(0.1 * wrong)


def test_a_wrong_fusion_fails_the_proof(small: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error far below float32's rounding is seen by the proof in float64."""

    def fuse_wrongly(network: torch.nn.Module) -> torch.nn.Module:
        fused = right(network)
        with torch.no_grad():
            fused.stem[0].reparam_conv.bias *= 1 + 1e-8
        return fused

    right = reparam_module.reparameterize
    monkeypatch.setattr(reparam_module, "reparameterize", fuse_wrongly)
    result = fuse_and_prove(ReparamConfig(output=str(tmp_path / "a.safetensors")), small)
    assert (result.passed, result.proof.relative_error < 1e-5) == (False, True)
    assert result.proof.fusion_error_float64 > 1e-10


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_fused_holds_on_every_variant(variant: str, tmp_path: Path) -> None:
    """Both proofs, and a written network without BatchNorm and layer scale."""
    result = fuse_and_prove(
        ReparamConfig(fuse="all", output=str(tmp_path / "all.safetensors")), loaded_model(variant)
    )
    assert result.passed
    assert result.proof.fusion_error_float64 < 1e-10
    assert result.proof.relative_error < 1e-5
    assert len(result.proof.blocks) == 3 + 3 + sum(VARIANTS[variant].depths) + 1
    reopened = load_checkpoint(tmp_path / "all.safetensors").network
    left = [
        type(module).__name__ for module in reopened.modules() if isinstance(module, (nn.BatchNorm2d, LayerScale))
    ]
    assert left == []


def test_real_images_join_the_proof(small: LoadedModel, tmp_path: Path) -> None:
    config = ReparamConfig(output=str(tmp_path / "fused.safetensors"))
    proof = fuse_and_prove(config, small, pixels(3)).proof
    assert (proof.random_images, proof.real_images, proof.passed) == (4, 3, True)


def test_the_cost_shrinks(small: LoadedModel, tmp_path: Path) -> None:
    branches = fuse_and_prove(ReparamConfig(output=str(tmp_path / "b.safetensors")), small)
    everything = fuse_and_prove(ReparamConfig(fuse="all", output=str(tmp_path / "a.safetensors")), small)
    before, fused, all_fused = branches.cost_before, branches.cost_after, everything.cost_after
    assert before.operations > fused.operations > all_fused.operations
    assert before.multiply_adds > fused.multiply_adds == all_fused.multiply_adds
    assert before.params > fused.params > all_fused.params
