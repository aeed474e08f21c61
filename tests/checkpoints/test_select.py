"""Which model is meant, when nobody names it: the newest run, or random weights of a seed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.select import BEST, LAST, load_source, newest_run, select_source, trained_on
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.options import ModelConfig, TrainedData


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _written(path: Path, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (at, at))


@pytest.mark.parametrize("folder", ["runs", "runs/flowers", "runs/train/old", "runs/2026/may/flowers/second"])
def test_a_run_is_found_at_any_depth(folder: str) -> None:
    _written(Path("runs/train/20260101-t8") / BEST, 10)
    _written(Path(folder) / BEST, 20)
    assert newest_run() == Path(folder)
    assert select_source(ModelConfig(ckpt="latest"), random_allowed=False).path == Path(folder) / BEST


def test_the_newest_is_the_one_that_was_written_last() -> None:
    assert newest_run() is None
    _written(Path("runs/a") / BEST, 10)
    _written(Path("runs/a") / LAST, 30)
    _written(Path("runs/b") / BEST, 20)
    _written(Path("runs/c/notes.txt"), 40)
    assert newest_run() == Path("runs/a")


def test_links_lead_to_runs_on_other_disks_and_never_in_circles(tmp_path: Path) -> None:
    _written(tmp_path / "disk" / "flowers" / LAST, 10)
    Path("runs").mkdir()
    Path("runs/train").symlink_to(tmp_path / "disk")
    Path("runs/back").symlink_to(tmp_path / "runs")
    (tmp_path / "disk" / "around").symlink_to(tmp_path / "disk")
    assert newest_run() == Path("runs/train/flowers")


def test_random_weights_are_those_of_the_seed() -> None:
    """Also where they are drawn last, after other random numbers, which go on as if nothing had been drawn."""

    def weights(seed: int) -> torch.Tensor:
        source = select_source(ModelConfig(variant="t8", seed=seed), random_allowed=True)
        return load_source(source).network.state_dict()["stem.0.conv_kxk.0.conv.weight"]

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


def test_what_an_export_was_trained_on_is_known_from_its_run_folder(tmp_path: Path) -> None:
    info = ModelInfo("t8", "all", 3, Preprocessing())
    file = tmp_path / "best.onnx"
    assert trained_on(file, info) is None
    photos = TrainedData("/photos")
    for text, expected in (
        ("data: /photos", photos),
        ("{data: /photos, val_split: 0.3}", TrainedData("/photos", 0.3)),
        ("{data: /photos, val_split: much}", photos),
        ("[data", None),
        ("- data", None),
        ("data: 3", None),
    ):
        (tmp_path / "config.yaml").write_text(text)
        assert trained_on(file, info) == expected
        named = replace(info, data="demo", recipe={"val_split": 0.25})
        assert trained_on(file, named) == TrainedData("demo", 0.25)
    assert trained_on(None, info) is None


def test_a_network_is_named_only_of_a_weights_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    for config in (
        ModelConfig(variant="t8", ckpt_key="student"),
        ModelConfig(ckpt="hf-hub:timm/fastvit_t8.apple_in1k", ckpt_key="student"),
        ModelConfig(ckpt=str(tmp_path / "m.onnx"), ckpt_key="student"),
    ):
        with pytest.raises(FastViTError, match="--ckpt-key names a network in a weights file, and none is read"):
            select_source(config, random_allowed=True)
    source = select_source(ModelConfig(ckpt=str(saved), ckpt_key="student"), random_allowed=True)
    with pytest.raises(FastViTError, match="holds no network 'student'"):
        load_source(source)
