"""What every command says of deep images, of files that are passed over, and of splits that are not quite alike."""

from pathlib import Path

import numpy as np
import pytest
from helpers.program import run
from helpers.tiny_data import draw_tiny_data
from PIL import Image

_DEEP = "deep images"
_PASSED_OVER = "Passed over, as no images: 3 .nef files"
_LACKING = "Validation has no images of 1 of the 3 classes (cross); the scores are of the others."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two deep images in each split, three raw files in one, and a class without images to validate."""
    data = draw_tiny_data(tmp_path_factory.mktemp("odd") / "data")
    for split in ("train", "val"):
        for name in ("00", "01"):
            path = data / split / "star" / f"{name}.jpg"
            grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
            path.unlink()
            Image.fromarray(grey * 257).save(path.with_suffix(".png"))
    for number in range(3):
        (data / "train" / "circle" / f"{number}.NEF").touch()
    for path in (data / "val" / "cross").iterdir():
        path.unlink()
    (data / "val").rename(data / "Valid")
    return data


@pytest.fixture
def run_dir(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    words = ["--img-size", 32, "--epochs", 2, "--batch-size", 8, "--workers", 1, "--output", tmp_path / "run"]
    outcome = run(capsys, "train", "--data", data, *words, "--json")
    assert outcome.err.count("Epoch 1 read 4 deep images (4 16-bit PNG), scaled to 8 bits.") == 1
    assert outcome.err.count(_DEEP) == 1, "it is said once"
    assert _PASSED_OVER in outcome.err
    assert _LACKING in outcome.err
    assert outcome.result["top1"] == pytest.approx(run_scores(capsys, tmp_path / "run"))
    return tmp_path / "run"


def run_scores(capsys: pytest.CaptureFixture[str], run_dir: Path) -> float:
    result = run(capsys, "validate", "--ckpt", run_dir, "--engine", "torch", "--workers", 0, "--json").result
    assert result["num_images"] == 8
    assert result["deep"] == {"16-bit PNG": 2}
    assert result["passed_over"] == {}
    return float(result["top1"])


def test_train_validate_and_predict(data: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = ("validate", "--ckpt", run_dir, "--split", "train", "--workers", 0)
    assert run(capsys, *training, "--json").result["passed_over"] == {".nef": 3}
    shown = run(capsys, *training)
    assert "2 deep images (2 16-bit PNG), scaled to 8 bits" in shown.out
    assert _PASSED_OVER in " ".join(shown.out.split())
    predicted = run(capsys, "predict", data / "train", "--ckpt", run_dir, "--json")
    assert len(predicted.result["images"]) == 24
    assert (predicted.result["deep"], predicted.result["passed_over"]) == ({"16-bit PNG": 2}, {".nef": 3})
    assert _PASSED_OVER in predicted.err
    assert "Read 2 deep images (2 16-bit PNG), scaled to 8 bits." in predicted.err


def test_check_data_and_dry_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked = run(capsys, "train", "--data", data, "--check-data", "--json").result
    assert [split["deep"] for split in checked["splits"]] == [{"16-bit PNG": 2}] * 2
    assert [split["passed_over"] for split in checked["splits"]] == [{".nef": 3}, {}]
    lacking, deep, passed_over = checked["notes"]
    assert lacking == _LACKING
    assert deep == "4 deep images (4 16-bit PNG), scaled to 8 bits."
    assert passed_over.startswith(_PASSED_OVER)
    assert _LACKING in run(capsys, "train", "--data", data, "--check-data").out
    alone = run(capsys, "validate", "--data", data, "--check-data", "--json").result
    assert alone["notes"] == ["2 deep images (2 16-bit PNG), scaled to 8 bits."]
    planned = run(capsys, "train", "--data", data, "--dry-run", "--img-size", 32, "--batch-size", 8, "--json").result
    assert planned["classes"] == 3
    assert _LACKING in planned["notes"]


def test_check_data_refuses_what_training_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=1)
    (data / "val" / "star").rename(data / "val" / "stars")
    outcome = run(capsys, "train", "--data", data, "--check-data")
    assert outcome.code == 2
    assert "Validation holds classes that training does not have" in outcome.err
