"""One small network and its file, for tests of what surrounds the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing

CLASSES = ("cat", "dog", "größe", 'a "quoted" name')


@pytest.fixture(scope="session")
def network() -> FastViT:
    """A t8 of four classes; tests leave it as it is."""
    torch.manual_seed(0)
    return create_model("t8", num_classes=len(CLASSES)).eval()


@pytest.fixture
def tensors(network: FastViT) -> dict[str, Tensor]:
    """Its state dict; the mapping is the test's own, the tensors are not."""
    return dict(network.state_dict())


@pytest.fixture(scope="session")
def info() -> ModelInfo:
    return ModelInfo(
        variant="t8",
        form="unfused",
        num_classes=len(CLASSES),
        preprocessing=Preprocessing(img_size=192, crop_pct=0.875, interpolation="bilinear", mean=(0.5, 0.4, 0.3)),
        class_names=CLASSES,
        data="demo",
        epoch=7,
        top1=81.25,
        recipe={"lr": 1e-3, "betas": [0.9, 0.999], "teacher": None},
    )


@pytest.fixture(scope="session")
def saved(network: FastViT, info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as we write it; tests leave the file as it is."""
    path = tmp_path_factory.mktemp("saved") / "t8.safetensors"
    save_checkpoint(path, network, info)
    return path
