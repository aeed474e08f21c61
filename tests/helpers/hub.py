"""A cache of the Hugging Face Hub, laid out as huggingface_hub does, whose real code then needs no network."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

REVISION = "0" * 40


def publish(cache: Path, repository: str, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None) -> None:
    """Lay a repository into a hub cache: blobs, a revision, and the main branch; None for one without config.json."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(REVISION)
    save_file(tensors, snapshot / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        (snapshot / "config.json").write_text(json.dumps(config))
    for path in list(snapshot.iterdir()):
        blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, snapshot))


def use_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let huggingface_hub, in this process, know this cache and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
