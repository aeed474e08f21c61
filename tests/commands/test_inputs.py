"""Which images a check runs on, and which of the model's classes they are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.loaded import loaded_model
from helpers.program import run

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.commands.inputs import announced_model, real_images_of
from fastvit_cli.data.sources import open_split
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.options import ModelConfig
from fastvit_cli.ui.session import Session

QUIET = Session("export", quiet=True)


@pytest.fixture
def info(tiny_data: Path) -> ModelInfo:
    """Of a model that knows the classes of the data, in another order."""
    names = tuple(reversed(open_split(tiny_data, "val").class_names))
    return ModelInfo("t8", "unfused", len(names), Preprocessing(img_size=32), class_names=names, data=str(tiny_data))


def test_images_of_what_the_model_was_trained_on(tiny_data: Path, info: ModelInfo) -> None:
    images = real_images_of(None, info, QUIET, {"val": 100, "train": 4})
    assert images["train"].pixels.shape == (4, 3, 32, 32)
    val = open_split(tiny_data, "val")
    assert images["val"].labels is not None
    assert info.class_names is not None
    names = [info.class_names[label] for label in images["val"].labels]
    assert names == [val.class_names[label] for label in val.labels]


def test_images_of_other_classes_have_no_labels(tiny_data: Path, info: ModelInfo) -> None:
    other = replace(info, class_names=("bolt", "nut"), num_classes=2)
    assert real_images_of(str(tiny_data), other, QUIET, {"val": 3})["val"].labels is None


def test_the_demo_stands_in_for_data_that_is_gone(
    tiny_data: Path,
    info: ModelInfo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fastvit_cli.data.sources.ensure_demo_dataset", lambda **_: tiny_data)
    gone = replace(info, data=str(tmp_path / "gone"))
    images = real_images_of(None, gone, Session("export"), {"val": 3})["val"]
    assert torch.equal(images.pixels, real_images_of(None, info, QUIET, {"val": 3})["val"].pixels)
    said = capsys.readouterr().err
    assert "gone" in said
    assert "The demo images take their place." in said


@pytest.mark.parametrize("option", [("--precision", "int8"), ("--format", "coreml", "--compress", "int8")])
def test_the_demo_is_no_stand_in_for_what_fewer_bits_are_calibrated_with(
    option: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FASTVIT_DATA", raising=False)
    monkeypatch.setattr("fastvit_cli.data.sources.ensure_demo_dataset", lambda **_: pytest.fail("the demo is drawn"))
    loaded = loaded_model("t8")
    for data, missing in ((str(tmp_path / "gone"), "no data folder"), (None, "does not say which they are")):
        save_checkpoint(tmp_path / "a.safetensors", loaded.network, replace(loaded.info, data=data))
        outcome = run(capsys, "export", "--ckpt", tmp_path / "a.safetensors", *option)
        assert outcome.code == 2
        assert missing in " ".join(outcome.err.split())
        assert "Pass --data" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_model_of_the_demo_is_calibrated_with_it(
    tiny_data: Path, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvit_cli.data.sources.ensure_demo_dataset", lambda **_: tiny_data)
    images = real_images_of(None, replace(info, data="demo"), QUIET, {"val": 3}, any_will_do=False)["val"]
    assert images.labels is not None


def test_data_that_was_asked_for_is_not_replaced(tiny_data: Path, info: ModelInfo, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "val", tmp_path / "val")
    assert len(real_images_of(str(tmp_path), info, QUIET, {"val": 3})["val"].pixels) == 3
    with pytest.raises(FastViTError, match="no 'train' split"):
        real_images_of(str(tmp_path), info, QUIET, {"val": 3, "train": 3})


def test_unlabelled_models(tiny_data: Path, info: ModelInfo) -> None:
    """An embedding has no classes, whatever the images are called."""
    embedding = replace(info, num_classes=0, class_names=None)
    assert real_images_of(str(tiny_data), embedding, QUIET, {"val": 3})["val"].labels is None


def test_files_are_made_on_the_cpu_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastvit_cli.devices.resolve_device", lambda *_: torch.device("cuda:0"))
    session = Session("export", quiet=True)
    announced_model(ModelConfig(variant="t8", device="cuda"), session, random_allowed=True)
    assert session.envelope(None)["environment"]["device"] == "cpu"
