"""Each command where the modules, functions and signals are absent that Windows lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("without_posix.py")
SMALL = ("--img-size", "32", "--batch-size", "8")


def _run(*words: object, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), *map(str, words), "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == code, done.stdout + done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def run_dir(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a worker process, which is spawned."""
    folder = tmp_path_factory.mktemp("without_posix") / "run"
    words = ("--variant", "t8", "--data", tiny_data, "--output", folder, "--epochs", "1", "--workers", "1", *SMALL)
    assert _run("train", *words)["result"]["epochs"] == 1
    return folder


def test_train_goes_on(run_dir: Path) -> None:
    assert _run("train", "--resume", run_dir, "--epochs", "2")["result"]["epochs"] == 2


def test_validate(run_dir: Path, tiny_data: Path) -> None:
    words = ("--ckpt", run_dir / "best.safetensors", "--data", tiny_data, "--workers", "1")
    assert _run("validate", *words)["result"]["num_images"] == 12


def test_predict(run_dir: Path, tiny_data: Path) -> None:
    images = sorted((tiny_data / "val").rglob("*.*"))[:2]
    assert len(_run("predict", *images, "--ckpt", run_dir / "best.safetensors")["result"]["images"]) == 2


def test_reparam(run_dir: Path, tmp_path: Path) -> None:
    words = ("--ckpt", run_dir / "best.safetensors", "--output", tmp_path / "fused.safetensors")
    assert _run("reparam", *words)["result"]["passed"]


def test_export_and_bench(run_dir: Path, tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    exported = _run("export", "--format", "onnx", "--ckpt", run_dir / "best.safetensors", "--output", graph)["result"]
    assert exported["check"]["passed"]
    (row,) = _run("bench", "--ckpt", graph, "--img-size", "32", "--iterations", "3")["result"]["results"]
    assert row["error"] is None
    assert row["median_ms"] > 0
