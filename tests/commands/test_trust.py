"""Files that can run code when they are opened: which commands open them, and when."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.exports import exported_to
from helpers.loaded import CLASS_NAMES, tiny_model
from helpers.program import run
from helpers.tiny_data import TINY_CLASSES, draw_tiny_data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the five classes of `data` in three formats, two of which can run code."""
    place = tmp_path_factory.mktemp("trust")
    draw_tiny_data(place / "data", train=4, val=1, classes=(*TINY_CLASSES, "heart", "ring"))
    for split in ("train", "val"):
        for old, new in zip(sorted((place / "data" / split).iterdir()), CLASS_NAMES, strict=True):
            old.rename(old.with_name(new))
    for format_ in ("onnx", "pt2", "torchscript"):
        exported_to(tiny_model(), place / "models", format_)
    return place


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


DATA = ("--data", "data", "--workers", 0)
IMAGE = "data/val/bee/00.jpg"
TRAINED = ("train", *DATA, "--epochs", 1, "--batch-size", 4, "--img-size", 64, "--dry-run", "--teacher")


@pytest.mark.parametrize(
    "words",
    [
        ("validate", *DATA, "--ckpt", "models/a.pt2"),
        ("validate", *DATA, "--ckpt", "models/a.onnx", "--compare", "models/a.torchscript"),
        ("predict", IMAGE, "--ckpt", "models/a.torchscript"),
    ],
)
def test_named_they_need_trust(words: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    refused = run(capsys, *words)
    assert refused.code == 2
    assert "file can run code on this machine when it is opened" in refused.err
    assert "--trust" in refused.err
    assert run(capsys, *words, "--trust", "--json").result


def test_a_teacher_needs_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    refused = run(capsys, *TRAINED, "models/a.pt2", "--json")
    assert "can run code" in refused.document["result"]["teacher_problem"]
    trusted = run(capsys, *TRAINED, "models/a.pt2", "--trust", "--json")
    assert "can run code" not in str(trusted.document["result"]["teacher_problem"])


def test_folders_and_globs_pass_them_over_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    for ckpt in ("models", "models/a.*"):
        outcome = run(capsys, "validate", *DATA, "--ckpt", ckpt)
        assert outcome.code == 0
        assert "Not opened: 2 .pt2 and .torchscript, which can run code" in " ".join(outcome.out.split())
    result = run(capsys, "validate", *DATA, "--ckpt", "models", "--json").result
    assert [Path(row["model"]).name for row in result["rows"]] == ["a.onnx"]
    assert result["passed_over"] == ["models/a.pt2", "models/a.torchscript"]
    result = run(capsys, "validate", *DATA, "--ckpt", "models", "--json", "--trust").result
    assert len({row["top1"] for row in result["rows"]}) == 1
    assert (len(result["rows"]), result["passed_over"]) == (3, [])


def test_a_damaged_file_is_named_and_not_scored(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("models/a.onnx", "damaged.onnx")
    content = bytearray(Path("damaged.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    Path("damaged.onnx").write_bytes(content)
    for words in (("validate", *DATA), ("predict", IMAGE)):
        outcome = run(capsys, *words, "--ckpt", "damaged.onnx")
        assert outcome.code == 2
        assert "'damaged.onnx' is not as `fastvit export` wrote it: its checksum differs." in outcome.err
    row = run(capsys, "bench", "--ckpt", "damaged.onnx", "--json").document["result"]["results"][0]
    assert "its checksum differs" in row["error"]
