"""--pretrained and hf-hub, through the real timm and huggingface_hub, from a hub cache made here; no network."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hub import publish
from helpers.loaded import loaded_model
from safetensors.torch import load_file

from fastvit_cli import create_model, reparameterize


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return create_model("t8").state_dict()


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory, published: dict[str, torch.Tensor]) -> Path:
    cache = tmp_path_factory.mktemp("hub")
    publish(cache, "timm/fastvit_t8.apple_dist_in1k", published, {"architecture": "fastvit_t8"})
    config = {
        "architecture": "fastvit_t8",
        "num_classes": 5,
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    publish(cache, "somebody/five", loaded_model("t8").network.state_dict(), config)
    return cache


def _run(cache: Path, folder: Path, *words: object) -> tuple[int, dict[str, Any]]:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "fastvit_cli", *map(str, words), "--json"],
        cwd=folder,
        env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, json.loads(done.stdout)


def test_pretrained_weights_come_from_the_cache(
    hub_cache: Path, published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    code, document = _run(hub_cache, tmp_path, "reparam", "--variant", "t8", "--pretrained")
    assert code == 0, document
    model = create_model("t8").eval()
    model.load_state_dict(published)
    expected = reparameterize(model).state_dict()
    written = load_file(tmp_path / document["result"]["output"])
    assert all(torch.equal(value, written[name]) for name, value in expected.items())


def test_hf_hub_names_work_as_checkpoints(hub_cache: Path, tmp_path: Path, tiny_data: Path) -> None:
    words = ("train", "--ckpt", "hf-hub:somebody/five", "--data", tiny_data, "--img-size", 32, "--batch-size", 8)
    code, document = _run(hub_cache, tmp_path, *words, "--epochs", 1, "--workers", 0)
    assert code == 0, document
    assert load_file(tmp_path / document["result"]["best_ckpt"])["head.fc.weight"].shape[0] == 3


def test_offline_and_not_cached_says_what_to_pass_instead(hub_cache: Path, tmp_path: Path) -> None:
    for words in (("--variant", "sa12", "--pretrained", "apple_in1k"), ("--ckpt", "hf-hub:somebody/nothing")):
        code, document = _run(hub_cache, tmp_path, "reparam", *words)
        assert code == 2
        assert "neither downloaded nor found in the local cache" in document["error"]["message"]
        assert "--ckpt FOLDER" in document["error"]["hint"]
