"""Folders of timm and the Hub: classes and preprocessing come from the config.json beside the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.hub import publish, use_cache
from helpers.program import run
from PIL import Image
from safetensors.torch import load_file, save_file

from fastvit_cli.checkpoints.hub_folder import read_hub_config
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.select import load_source, select_source
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.options import ModelConfig

PREPROCESSING = {"input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
EXPECTED = Preprocessing(96, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What timm itself writes for a t8 of three classes, which are in no order."""
    path = tmp_path_factory.mktemp("hub") / "folder"
    torch.manual_seed(0)
    model = timm.create_model("fastvit_t8", num_classes=3)
    config = {
        "label_names": ["c", "b", "a"],
        "label_descriptions": {"a": "an ant", "b": "a bee", "c": "a cow"},
        "pretrained_cfg": {**PREPROCESSING, "crop_pct": 1.0},
    }
    timm.models.save_for_hf(model, path, model_config=config, safe_serialization=True)
    return path


def test_it_is_the_same_however_it_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(
        tmp_path,
        "somebody/three",
        load_file(folder / "model.safetensors"),
        json.loads((folder / "config.json").read_text()),
    )
    use_cache(monkeypatch, tmp_path)
    for name in (folder, f"local-dir:{folder}", folder / "model.safetensors", "hf-hub:somebody/three"):
        info = load_source(select_source(ModelConfig(ckpt=str(name)), random_allowed=False)).info
        assert info.preprocessing == EXPECTED
        assert info.class_names == ("c", "b", "a")
        assert info.class_descriptions == ("a cow", "a bee", "an ant")


def test_it_scores_as_in_timm_and_shows_the_descriptions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of an image is the name of the class that timm's model, fed by timm, gives it."""
    data = timm.data.create_transform(**timm.data.resolve_data_config(model=_timm(folder)), is_training=False)
    for seed in range(6):
        torch.manual_seed(seed)
        pixels = (torch.rand(6, 6, 3) * 255).byte().numpy()
        image = Image.fromarray(pixels).resize((130, 110), Image.Resampling.NEAREST)
        with torch.inference_mode():
            label = ["c", "b", "a"][int(_timm(folder)(data(image)[None]).argmax())]
        (tmp_path / "val" / label).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "val" / label / f"{seed}.png")
    found = run(capsys, "validate", "--ckpt", folder, "--data", tmp_path, "--workers", 0, "--json").result
    assert (found["top1"], found["img_size"], found["num_images"]) == (100.0, 96, 6)
    (row,) = run(capsys, "predict", image_of(tmp_path), "--ckpt", folder, "--json").result["images"]
    assert {guess["name"] for guess in row["guesses"]} == {"a cow", "a bee", "an ant"}


def _timm(folder: Path) -> Any:
    model = timm.create_model(f"local-dir:{folder}", pretrained=False).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))  # timm 1.0.22 takes this file for a pickle
    return model


def image_of(data: Path) -> Path:
    return next(data.rglob("*.png"))


def test_exports_carry_the_names(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    words = ("--img-size", 64, "--output", output, "--json")
    assert run(capsys, "export", "--ckpt", folder, *words).result["class_names_inside"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "fastvit_sa12"}, "about a fastvit_sa12, and 'model.safetensors' is a fastvit_t8"),
        ({"label_names": ["a", "b"]}, "names 2 classes, and 'model.safetensors' has 3 outputs"),
        ({"label_names": {"0": "a", "2": "b", "3": "c"}}, "cannot be used"),
        ({"label_names": "abc"}, "label_names is no list"),
        ({"pretrained_cfg": {"mean": [0.5]}}, "mean is no list of three numbers"),
        ({"pretrained_cfg": {"std": [0.1, 0.0, 0.1]}}, "std has a value that is not above 0"),
        ({"pretrained_cfg": {"input_size": [3, 64, 96]}}, "64 x 96"),
        ({"pretrained_cfg": {"input_size": 7}}, "cannot be used"),
        ({"pretrained_cfg": {"interpolation": "magic"}}, "interpolation is none of"),
        ({"pretrained_cfg": {"crop_mode": "squash"}}, "crop_mode is not center"),
        ({"pretrained_cfg": {"crop_pct": 7}}, "crop_pct"),
    ],
)
def test_a_config_that_cannot_be_meant(folder: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(FastViTError) as caught:
        load_checkpoint(tmp_path / "model.safetensors")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_damaged_config(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for text in ("{", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(FastViTError, match="is no JSON"):
            load_checkpoint(tmp_path / "model.safetensors")


def test_a_config_of_something_else_is_none(folder: Path, tmp_path: Path) -> None:
    save_file(load_file(folder / "model.safetensors"), tmp_path / "model.safetensors")
    for content in ({"architectures": ["BertModel"]}, {"architecture": "resnet18", "label_names": ["x"]}, [1]):
        (tmp_path / "config.json").write_text(json.dumps(content))
        assert read_hub_config(tmp_path / "config.json") is None
        assert load_checkpoint(tmp_path / "model.safetensors").info.class_names is None


def test_timms_older_form_and_names_with_numbers(tmp_path: Path) -> None:
    older = {"architecture": "fastvit_t8.apple_in1k", **PREPROCESSING, "labels": ["x", "y"]}
    (tmp_path / "config.json").write_text(json.dumps(older))
    config = read_hub_config(tmp_path / "config.json")
    assert config is not None
    assert (config.class_names, config.preprocessing["img_size"]) == (("x", "y"), 96)
    numbered = {"architecture": "fastvit_t8", "pretrained_cfg": {"label_names": {"1": "y", "0": "x"}}}
    (tmp_path / "config.json").write_text(json.dumps(numbered))
    config = read_hub_config(tmp_path / "config.json")
    assert config is not None
    assert config.class_names == ("x", "y")
