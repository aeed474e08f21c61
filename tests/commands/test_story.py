"""The whole story on small real images: train, validate, reparam, export, bench, as typed."""

import csv
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from helpers.program import run
from safetensors.torch import load_file

pytestmark = pytest.mark.quick

SHORT = ("--img-size", 32, "--batch-size", 8, "--workers", 0)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(autouse=True)
def _inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)


@pytest.fixture(scope="module")
def trained(workplace: Path, tiny_data: Path) -> dict[str, Any]:
    """The JSON result of one short training, made by the program itself."""
    import json
    import subprocess
    import sys

    words = ["train", "--data", tiny_data, "--epochs", 3, "--json", *SHORT]
    done = subprocess.run(
        [sys.executable, "-m", "fastvit_cli", *map(str, words)],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def test_training_leaves_a_whole_run_folder(trained: dict[str, Any], workplace: Path, tiny_data: Path) -> None:
    run_dir = workplace / trained["run_dir"]
    assert {path.name for path in run_dir.iterdir() if "tfevents" not in path.name} == {
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "log.txt",
        "best.safetensors",
        "last.safetensors",
        "state.pt",
    }
    assert len(list(run_dir.glob("*tfevents*"))) == 1, "TensorBoard is installed with the tests"
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["data"] == str(tiny_data)
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert trained["epochs"] == 3
    assert trained["top1"] == max(float(row["val_top1"]) for row in rows)
    assert (run_dir / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_validate_repeats_the_score_that_training_printed(
    trained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    again = run(capsys, "validate", "--ckpt", trained["best_ckpt"], "--workers", 0, "--json").result
    assert again["top1"] == trained["top1"]
    assert again["top5"] == trained["top5"]
    assert again["loss"] == pytest.approx(trained["loss"], rel=1e-5)  # folded
    assert again["num_images"] == 12
    assert (again["variant"], again["fused"], again["engine"], again["img_size"]) == ("t8", False, "torch", 32)


def test_fused_and_exported_files_score_the_same(trained: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    fused = run(capsys, "reparam", "--ckpt", trained["best_ckpt"], "--json").result
    assert fused["passed"]
    assert fused["params_after"] < fused["params_before"]
    onnx = run(capsys, "export", "--ckpt", fused["output"], "--format", "onnx", "--json").result
    coreml = run(capsys, "export", "--ckpt", fused["output"], "--format", "coreml", "--json").result
    for exported in (onnx, coreml):
        assert exported["check"]["passed"]
        assert exported["check"]["top1_agreement"] is not None
        assert exported["size_bytes"] > 1_000_000
    for artefact in (fused["output"], onnx["output"]):
        score = run(capsys, "validate", "--ckpt", artefact, "--workers", 0, "--json").result
        assert score["top1"] == trained["top1"], artefact


def test_timm_loads_the_best_weights(trained: dict[str, Any]) -> None:
    model = timm.create_model("fastvit_t8", num_classes=3)
    model.load_state_dict(load_file(trained["best_ckpt"]))


def test_bench_times_the_run(trained: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("bench", "--ckpt", trained["run_dir"], "--iterations", 3, "--min-seconds", 0, "--json")
    (row,) = run(capsys, *words).result["results"]
    assert row["error"] is None
    assert 0 < row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert (row["device"], row["batch_size"], row["img_size"]) == ("cpu", 1, 32)


def test_the_four_lines_typed_literally(
    tiny_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "train", "--variant", "sa24", "--data", tiny_data, "--epochs", 1, *SHORT).code == 0
    validated = run(capsys, "validate", "--ckpt", "--json")
    assert validated.result["variant"] == "sa24"
    exported = run(capsys, "export", "--format", "coreml", "--json")
    assert exported.result["check"]["passed"]
    assert Path(exported.result["output"]).is_dir()
    refused = run(capsys, "bench", "--device", "mps")
    if not torch.backends.mps.is_available():
        assert refused.code == 2
        assert "'mps'" in refused.err
        assert "cpu" in refused.err


def test_training_goes_on_from_weights_with_a_new_head(
    trained: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from helpers.tiny_data import draw_tiny_data

    two = draw_tiny_data(tmp_path / "two", classes=("heart", "ring"))
    words = ("train", "--ckpt", trained["best_ckpt"], "--data", two, "--epochs", 1, "--output", tmp_path / "run")
    outcome = run(capsys, *words, *SHORT)
    assert outcome.code == 0, outcome.err
    assert "a new head for 2 classes replaces its 3" in " ".join(outcome.err.split())
    assert load_file(tmp_path / "run" / "best.safetensors")["head.fc.weight"].shape[0] == 2


def test_training_from_a_fused_file_is_refused(
    trained: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_data: Path
) -> None:
    fused = tmp_path / "fused.safetensors"
    assert run(capsys, "reparam", "--ckpt", trained["best_ckpt"], "--output", fused).code == 0
    refused = run(capsys, "train", "--ckpt", fused, "--data", tiny_data, *SHORT)
    assert refused.code == 2
    assert "is fused" in refused.err
    assert not (tmp_path / "runs").exists()
