"""Whatever training and scoring call has a kernel for Apple's GPU, by torch's own list; with any torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.pretended import without_mps_kernel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, StepPosition, TrainStep


class _Recorded(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten":
            self.operators.add(f"{func._schema.name.removeprefix('aten::')}.{func._overloadname}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("t8", {"clip_grad": 0.01, "clip_mode": "agc", "amp": True}),
        ("sa12", {"clip_grad": 1.0, "drop_path": 0.1}),
        ("mci0", {"bce": True, "opt": "sgd"}),
    ],
)
def test_every_operator_has_one(variant: str, options: dict[str, Any]) -> None:
    info = ModelInfo(variant, "unfused", 3, Preprocessing(img_size=64))
    config = TrainConfig(variant=variant, img_size=64, batch_size=4, **options)
    updater = TrainStep(config, FastViT(get_variant(variant), num_classes=3), info, torch.device("cpu"))
    batch = Batch(torch.zeros(4, 3, 64, 64, dtype=torch.uint8), torch.tensor([0, 1, 2, 0]), ())
    # Attention by its parts: its kernels have other names on each device.
    with _Recorded() as recorded, sdpa_kernel(SDPBackend.MATH):
        updater.update([batch], Rates(1e-3, None), StepPosition(0, 0, 0))
        TorchRuntime(updater.weights, info, torch.device("cpu")).logits(batch.images)
    assert len(recorded.operators) > 40
    assert without_mps_kernel(recorded.operators) == []


def test_one_without_is_found() -> None:
    with _Recorded() as recorded:
        torch.special.airy_ai(torch.ones(2))
    assert without_mps_kernel(recorded.operators) == ["special_airy_ai.default"]
