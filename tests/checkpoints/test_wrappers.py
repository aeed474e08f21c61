"""What trainers wrap around the weights: outer dictionaries, key prefixes, averaged copies, other numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models import create_model as create_timm_model
from torch import Tensor, nn

from fastvit_cli import load_model
from fastvit_cli.checkpoints.layouts import to_reference
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.variants import get_variant

Tensors = dict[str, Tensor]


def assert_same(network: FastViT, expected: Tensors) -> None:
    actual = network.state_dict()
    assert actual.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(actual[key], value)] == []


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrapper",
    ["state_dict", "model", "state_dict_ema", "model_ema", "ema", "net", "weights", "student", "what nobody knows"],
)
def test_wrapped(tensors: Tensors, tmp_path: Path, wrapper: str) -> None:
    file = save(tmp_path / "w.pth", {"epoch": 3, "arch": "fastvit_t8", wrapper: tensors})
    assert_same(load_model(file), tensors)


@pytest.mark.parametrize("outer", [("model",), ("state_dict", "model")])
def test_wrapped_twice_and_thrice(tensors: Tensors, tmp_path: Path, outer: tuple[str, ...]) -> None:
    content: dict[str, Any] = {"state_dict": tensors}
    for wrapper in outer:
        content = {wrapper: content}
    assert_same(load_model(save(tmp_path / "w.pth", content)), tensors)


PREFIXES = (
    *("module.", "backbone.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."),
    *("visual.trunk.", "timm_model.", "encoder.model.", "student.backbone.", "a.stem.", "0."),
)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("naming", ["native", "reference"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixed(tensors: Tensors, tmp_path: Path, prefix: str, naming: str, suffix: str) -> None:
    named = tensors if naming == "native" else to_reference(tensors, get_variant("t8"))
    prefixed = {prefix + key: value for key, value in named.items()}
    path = tmp_path / f"p{suffix}"
    save_file(prefixed, path) if suffix == ".safetensors" else save(path, {"state_dict": prefixed})
    assert_same(load_model(path), tensors)


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


class TestWhatIsSaid:
    def test_nothing_of_what_is_ordinary(self, tensors: Tensors, saved: Path, tmp_path: Path) -> None:
        module = {f"module._orig_mod.{key}": value for key, value in tensors.items()}
        for content in (tensors, {"state_dict": tensors, "epoch": 3}, {"model": {"state_dict": tensors}}, module):
            assert load_checkpoint(save(tmp_path / "w.pth", content)).notes == ()
        assert load_checkpoint(saved).notes == ()

    def test_where_it_was_found(self, tensors: Tensors, tmp_path: Path) -> None:
        content = {"net": {f"visual.trunk.{key}": value for key, value in tensors.items()}}
        notes = load_checkpoint(save(tmp_path / "w.pth", content)).notes
        assert notes == ("The network was found at 'net.visual.trunk' in the file.",)

    def test_what_was_passed_over(self, tensors: Tensors, tmp_path: Path) -> None:
        content = {
            "state_dict": {**tensors, "text.a": torch.ones(1), "text.b": torch.ones(2), "logit_scale": torch.ones(3)},
            "optimizer": {"state": {i: {"exp_avg": torch.ones(4)} for i in range(9)}},
        }
        notes = load_checkpoint(save(tmp_path / "w.pth", content)).notes
        assert notes == (
            "12 tensors beside the network are passed over: 9 of optimizer, 2 of text, 1 of logit_scale.",
        )

    def test_which_of_two_was_taken(self, tensors: Tensors, tmp_path: Path) -> None:
        other = {key: value + 1 for key, value in tensors.items()}
        file = save(tmp_path / "both.pth", {"state_dict": tensors, "state_dict_ema": other})
        assert load_checkpoint(file).notes == (
            "The file holds 2 networks: 'state_dict_ema' is taken (the averaged weights; --no-ema takes the others), "
            "not 'state_dict'.",
        )
        assert "'state_dict' is taken (--no-ema)" in load_checkpoint(file, prefer_ema=False).notes[0]


class TestSeveralNetworks:
    @pytest.fixture
    def teacher(self, tensors: Tensors) -> Tensors:
        return {**tensors, "head.fc.bias": torch.full((4,), 0.5)}

    @pytest.fixture(params=["keys", "prefixes"])
    def both(self, tensors: Tensors, teacher: Tensors, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        content: dict[str, Any] = {"student": tensors, "teacher": teacher}
        if request.param == "prefixes":
            content = {f"{who}.{key}": value for who, part in content.items() for key, value in part.items()}
        return save(tmp_path / "both.pth", content)

    def test_they_are_named_and_one_can_be_chosen(self, both: Path, tensors: Tensors, teacher: Tensors) -> None:
        for prefer_ema in (True, False):
            with pytest.raises(FastViTError, match=r"holds 2 networks: 'student', 'teacher'\. .*--ckpt-key teacher"):
                load_checkpoint(both, prefer_ema)
        assert_same(load_model(both, key="student"), tensors)
        loaded = load_checkpoint(both, key="teacher")
        assert_same(loaded.network, teacher)
        assert loaded.notes == ("The file holds 2 networks: 'teacher' is taken (--ckpt-key), not 'student'.",)

    def test_a_name_that_is_none_of_them(self, both: Path) -> None:
        with pytest.raises(FastViTError, match=r"no network 'techer'; it holds 'student', 'teacher'.*mean 'teacher'"):
            load_checkpoint(both, key="techer")

    def test_averages_of_each_are_in_doubt_too(self, tensors: Tensors, teacher: Tensors, tmp_path: Path) -> None:
        content = {"ema_student": tensors, "ema_teacher": teacher, "other": {k: v + 1 for k, v in tensors.items()}}
        file = save(tmp_path / "many.pth", content)
        with pytest.raises(FastViTError, match="holds 3 networks"):
            load_checkpoint(file)
        load_checkpoint(file, prefer_ema=False)

    def test_the_same_weights_twice_are_one_network(self, tensors: Tensors, tmp_path: Path) -> None:
        loaded = load_checkpoint(save(tmp_path / "t.pth", {"model": tensors, "state_dict": dict(tensors)}))
        assert_same(loaded.network, tensors)
        assert loaded.notes == ()

    def test_a_teacher_of_another_family_is_no_candidate(self, tensors: Tensors, tmp_path: Path) -> None:
        """timm's ConvNeXt has blocks and a stem of the same names."""
        other = create_timm_model("convnext_atto", num_classes=4).state_dict()
        assert "stages.0.blocks.0.mlp.fc1.weight" in other
        assert_same(load_model(save(tmp_path / "d.pth", {"student": tensors, "teacher": other})), tensors)

    def test_far_too_many(self, tmp_path: Path) -> None:
        one = torch.ones(1)
        names = ("stem.0.conv_kxk.0.conv.weight", "stages.0.blocks.0.mlp.fc1.weight")
        file = save(tmp_path / "m.pth", {f"{i}.{name}": one for i in range(5000) for name in names})
        with pytest.raises(FastViTError, match="holds 5000 networks"):
            load_checkpoint(file)


def test_counters_that_are_missing(tensors: Tensors, tmp_path: Path) -> None:
    """Some converters leave them out; nothing reads them."""
    without = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    assert len(without) < len(tensors)
    expected = {**tensors, **{key: torch.zeros_like(tensors[key]) for key in tensors.keys() - without.keys()}}
    assert_same(load_model(save(tmp_path / "n.pth", without)), expected)


def test_counters_of_thop(tensors: Tensors, tmp_path: Path) -> None:
    counters = {f"{module}total_ops": torch.zeros(1) for module in ("", "stem.", "stages.0.blocks.0.")}
    loaded = load_checkpoint(save(tmp_path / "t.pth", tensors | counters))
    assert_same(loaded.network, tensors)
    assert loaded.notes == ("3 counters of thop (total_ops, total_params) in the file are left out.",)


@pytest.mark.parametrize(("channels", "words"), [(1, r"greyscale images \(1 channel\)"), (4, "images of 4 channels")])
def test_a_network_for_other_images(tmp_path: Path, channels: int, words: str) -> None:
    other = create_timm_model("fastvit_t8", num_classes=4, in_chans=channels).state_dict()
    with pytest.raises(FastViTError, match=rf"The network in .* takes {words}; .*RGB"):
        load_checkpoint(save(tmp_path / "g.pth", other))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_precisions_become_float32(tensors: Tensors, tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
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
