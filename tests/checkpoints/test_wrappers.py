"""What trainers wrap around the weights: outer dictionaries, key prefixes, averaged copies, other numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastvit_cli import load_model
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.models.network import FastViT

Tensors = dict[str, Tensor]


def assert_same(network: FastViT, expected: Tensors) -> None:
    actual = network.state_dict()
    assert actual.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(actual[key], value)] == []


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema", "model_ema", "ema"])
def test_wrapped(tensors: Tensors, tmp_path: Path, wrapper: str) -> None:
    file = save(tmp_path / "w.pth", {"epoch": 3, "arch": "fastvit_t8", wrapper: tensors})
    assert_same(load_model(file), tensors)


@pytest.mark.parametrize("outer", [("model",), ("state_dict", "model")])
def test_wrapped_twice_and_thrice(tensors: Tensors, tmp_path: Path, outer: tuple[str, ...]) -> None:
    content: dict[str, Any] = {"state_dict": tensors}
    for wrapper in outer:
        content = {wrapper: content}
    assert_same(load_model(save(tmp_path / "w.pth", content)), tensors)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixed(tensors: Tensors, tmp_path: Path, prefix: str) -> None:
    prefixed = {prefix + key: value for key, value in tensors.items()}
    assert_same(load_model(save(tmp_path / "p.pth", {"state_dict": prefixed})), tensors)


def test_backbone_of_a_detector(tensors: Tensors, tmp_path: Path) -> None:
    """Only what carries the prefix belongs to the network."""
    content = {f"backbone.{key}": value for key, value in tensors.items()}
    content |= {"neck.weight": torch.ones(3), "head.fc.bias": torch.ones(9)}
    assert_same(load_model(save(tmp_path / "d.pth", {"state_dict": content})), tensors)


def test_old_trainer_with_its_options(tensors: Tensors, tmp_path: Path) -> None:
    """timm's trainer before 2023 and the reference's: argparse.Namespace beside the weights."""
    content = {
        "epoch": 299,
        "arch": "fastvit_t8",
        "state_dict": tensors,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]},
        "version": 2,
        "args": argparse.Namespace(model="fastvit_t8", lr=1e-3, aug=["a", None], nested=argparse.Namespace(x=1)),
        "metric": 76.2,
    }
    assert_same(load_model(save(tmp_path / "old.pth.tar", content)), tensors)


def test_legacy_pickle_format(tensors: Tensors, tmp_path: Path) -> None:
    """torch before 1.6 wrote no archive."""
    path = tmp_path / "legacy.pth"
    torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=False)
    assert path.read_bytes()[:1] == b"\x80"
    assert_same(load_model(path), tensors)


class TestAveragedWeights:
    @pytest.fixture
    def averaged(self, tensors: Tensors) -> Tensors:
        return {**tensors, "head.fc.bias": torch.full((4,), 0.5)}

    @pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
    @pytest.mark.parametrize("plain", ["state_dict", "model"])
    def test_both(self, tensors: Tensors, averaged: Tensors, tmp_path: Path, plain: str, key: str) -> None:
        file = save(tmp_path / "both.pth", {plain: tensors, key: averaged})
        assert_same(load_checkpoint(file).network, averaged)
        assert_same(load_checkpoint(file, prefer_ema=False).network, tensors)

    def test_averaged_alone_is_taken_either_way(self, averaged: Tensors, tmp_path: Path) -> None:
        file = save(tmp_path / "ema.pth", {"state_dict_ema": averaged})
        assert_same(load_checkpoint(file, prefer_ema=False).network, averaged)

    @pytest.mark.parametrize("placeholder", [None, {}, "ema.pth", torch.zeros(2)])
    def test_a_placeholder_is_passed_over(self, tensors: Tensors, tmp_path: Path, placeholder: Any) -> None:
        file = save(tmp_path / "none.pth", {"state_dict_ema": placeholder, "state_dict": tensors})
        assert_same(load_model(file), tensors)

    def test_torchs_averaged_model(self, network: FastViT, tensors: Tensors, tmp_path: Path) -> None:
        """AveragedModel adds `module.` and a counter without it."""
        averaged = torch.optim.swa_utils.AveragedModel(network)
        assert "n_averaged" in averaged.state_dict()
        assert_same(load_model(save(tmp_path / "swa.pth", averaged.state_dict())), tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_precisions_become_float32(tensors: Tensors, tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    from safetensors.torch import save_file

    # Some converters cast counters as well, so all tensors are cast here.
    cast = {key: value.to(dtype) for key, value in tensors.items()}
    path = tmp_path / f"cast{suffix}"
    save_file(cast, path) if suffix == ".safetensors" else torch.save(cast, path)
    network = load_model(path)
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert_same(network, {key: value.to(tensors[key].dtype) for key, value in cast.items()})


def test_float8_file(tensors: Tensors, tmp_path: Path) -> None:
    """torch can check few float8 tensors for NaN directly."""
    cast = {k: v.to(torch.float8_e4m3fn) if v.ndim == 4 else v for k, v in tensors.items()}
    assert_same(load_model(save(tmp_path / "f8.pth", cast)), {k: v.to(tensors[k].dtype) for k, v in cast.items()})


def test_parameters_and_shared_storage(tensors: Tensors, tmp_path: Path) -> None:
    """A dictionary of nn.Parameter, and of views into one storage, as flat optimizers keep them."""
    wrapped = {k: nn.Parameter(v, requires_grad=v.is_floating_point()) for k, v in tensors.items()}
    assert_same(load_model(save(tmp_path / "parameters.pth", wrapped)), tensors)
    flat = torch.cat([v.flatten() for v in tensors.values() if v.is_floating_point()])
    views, position = dict(tensors), 0
    for key, value in tensors.items():
        if value.is_floating_point():
            views[key] = flat[position : position + value.numel()].view(value.shape)
            position += value.numel()
    assert_same(load_model(save(tmp_path / "views.pth", views)), tensors)


def test_loading_leaves_the_global_allow_list_alone(tensors: Tensors, tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    load_model(save(tmp_path / "w.pth", {"state_dict": tensors, "args": argparse.Namespace(a=1)}))
    assert set(torch.serialization.get_safe_globals()) == before
    assert argparse.Namespace not in before
