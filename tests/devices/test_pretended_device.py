"""What training and scoring do on a device, seen without one: places, types, kernels, and what the host waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.pretended import LACKING, NAME, Pretended, pretended, without_mps_kernel
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException
from torch.utils._pytree import tree_map_only

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch
from fastvit_cli.evaluation.evaluate import evaluate
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.optim import optimizer
from fastvit_cli.runtimes import base
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.training import train_step
from fastvit_cli.training.run_folder import create_run_folder
from fastvit_cli.training.teacher import Teacher
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, StepPosition, TrainStep

pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),  # of torch's own printing
]
SIZE, CLASSES, IMAGES = 64, 3, 4

FORMS: dict[str, dict[str, Any]] = {
    "mixing and the moving average": {},
    "attention": {"variant": "sa12", "drop_path": 0.1},
    "bfloat16, clipped": {"amp": True, "clip_grad": 1.0},
    "float16": {"amp": True, "dtype": torch.float16},
    "float16, clipped": {"amp": True, "dtype": torch.float16, "clip_grad": 1.0},
    "agc": {"clip_grad": 0.01, "clip_mode": "agc"},
    "channels last": {"channels_last": True, "amp": True},
    "accumulated": {"total_batch_size": 2 * IMAGES},
    "recomputed": {"grad_checkpointing": True, "drop_path": 0.1},
    "frozen": {"freeze_backbone": True},
    "hard teacher": {"teacher": "another"},
    "soft teacher": {"teacher": "another", "distillation_type": "soft", "amp": True},
    "yes or no a class": {"bce": True, "class_weights": "balanced"},
    "nothing beside": {"ema_decay": 0.0, "mixup": 0.0, "cutmix": 0.0, "random_erasing": 0.0, "opt": "sgd"},
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setattr(optimizer, "_FUSED_DEVICES", {"cpu", NAME})  # as those that it stands for
    monkeypatch.setattr(train_step, "runs_ahead", lambda _: True)
    base._channels.cache_clear()  # tensors of another test's device
    return pretended(monkeypatch)


def _info(variant: str = "t8") -> ModelInfo:
    return ModelInfo(variant, "unfused", CLASSES, Preprocessing(img_size=SIZE))


def _network(variant: str = "t8", drop_path: float = 0.0) -> FastViT:
    return FastViT(get_variant(variant), num_classes=CLASSES, drop_path_rate=drop_path)


def _updated(
    device: Pretended,
    monkeypatch: pytest.MonkeyPatch,
    form: dict[str, Any],
    change: Callable[[TrainStep], None] = lambda _: None,
) -> TrainStep:
    """After two updates, of which the second is counted: the first one has more to make.

    Args:
        change: what is broken before them.
    """
    options = {name: value for name, value in form.items() if name != "dtype"}
    monkeypatch.setattr(train_step, "autocast_dtype", lambda _: form.get("dtype", torch.bfloat16))
    config = TrainConfig(**{"img_size": SIZE, "batch_size": IMAGES, **options})
    network, asked = _network(config.variant, config.drop_path), _network()
    if config.freeze_backbone:
        network.requires_grad_(False).head.requires_grad_(True)
    weights = torch.tensor([0.5, 1.0, 1.5]) if config.class_weights == "balanced" else None
    images, labels = torch.zeros(IMAGES, 3, SIZE, SIZE, dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    batches = [Batch(images, labels, ())] * config.accumulation
    device.has_float64 = "dtype" in form  # torch's own scaler of float16 needs it, and is for CUDA alone
    with device.there():
        asked.to(device.device).eval().requires_grad_(False)
        teacher = Teacher("another", asked) if config.distils else None
        updater = TrainStep(config, network, _info(config.variant), device.device, weights, teacher)
        updater.network.train(not config.freeze_backbone)
        change(updater)
        for number in range(2):
            device.forget()
            read = updater.queue(batches, Rates(1e-3, None), StepPosition(0, number, number))
    assert read() is not None
    return updater


def _check(device: Pretended, waits: int = 0) -> None:
    """What one update may cost beside its work."""
    assert +device.waits == +Counter(item=waits)
    assert +device.copies == {}
    assert without_mps_kernel(device.operators) == []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_update_stays_on_the_device(
    form: dict[str, Any], device: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater = _updated(device, monkeypatch, form)
    _check(device, waits=0 if updater.runs_ahead else 1)  # for the loss
    assert updater.runs_ahead == ("dtype" not in form)
    moved = (*updater.network.parameters(), *updater.network.buffers(), *updater.weights.buffers())
    assert {one.device for one in moved} == {device.device}
    assert {one.device for one in _learned(updater)} <= {device.device}


def _learned(updater: TrainStep) -> list[Tensor]:
    """What the optimizer keeps."""
    return [one for kept in updater.optimizer.state.values() for one in kept.values() if isinstance(one, Tensor)]


def test_waiting_for_the_loss_is_one_wait(device: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device does not run ahead, as on MPS."""
    monkeypatch.setattr(train_step, "runs_ahead", lambda _: False)
    _updated(device, monkeypatch, {})
    _check(device, waits=1)


@pytest.mark.parametrize(
    ("form", "most"), [("nothing beside", 780), ("mixing and the moving average", 800), ("agc", 1100)]
)
def test_beside_the_network_little_is_launched(
    form: str, most: int, device: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, backward and one fused optimizer; timm's average would add 70 copies, its clipping 2,500 kernels."""
    _updated(device, monkeypatch, FORMS[form])
    assert sum(device.launches.values()) < most


def _through(broken: Callable[[Tensor], Tensor]) -> Callable[[TrainStep], None]:
    """Break what comes out of the stages."""
    return lambda updater: updater.network.stages.register_forward_hook(lambda _, __, out: broken(out)) and None


FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], type[Exception]]] = {
    "a tensor of the CPU": (lambda out: out + torch.ones(out.shape), RuntimeError),
    "float64": (lambda out: out.double().float(), TypeError),
    "one wait more": (lambda out: out * (1.0 + out.mean().item()), AssertionError),
    "a boolean index": (lambda out: out[out > 0].sum() + out, DynamicOutputShapeException),
    "an assignment by one": (lambda out: out.index_put((out > 1,), out.new_ones(())), AssertionError),
    "through the host": (lambda out: out.cpu().to(out.device), AssertionError),
    "no kernel of MPS": (lambda out: out + torch.special.airy_ai(out.detach()), AssertionError),
}


@pytest.mark.parametrize(("broken", "caught"), FAULTS.values(), ids=FAULTS)
def test_what_would_fail_or_wait_there_is_caught(
    broken: Callable[[Tensor], Tensor], caught: type[Exception], device: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def updated_and_checked() -> None:
        _updated(device, monkeypatch, {}, _through(broken))
        _check(device)

    with pytest.raises(caught):
        updated_and_checked()


def test_an_evaluation_waits_once_a_batch(device: Pretended) -> None:
    images, labels = torch.zeros(IMAGES, 3, SIZE, SIZE, dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    loader = SimpleNamespace(
        images=range(8),
        epoch=lambda: iter([Batch(images, labels, ())] * 2),
        share_unreadable=lambda _: (),
        all_deep=lambda _: {},
        unreadable={},
        seconds_waited=0.0,
    )
    with device.there():
        runtime = TorchRuntime(_network(), _info(), device.device)
        device.forget()
        scores = evaluate(runtime, loader).scores  # type: ignore[arg-type]  # a stand-in
    assert (scores.top1, scores.num_images) == (50.0, 8)  # all logits are zero, which means the first class
    assert +device.waits == {}
    assert +device.copies == {"to the host": 2, "to the device": 2}  # the logits of each; mean and std, once
    assert without_mps_kernel(device.operators) == []


def test_a_state_is_saved_from_the_device_and_restored_to_it(
    device: Pretended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save = torch.save  # which knows the devices that it writes from
    monkeypatch.setattr(torch, "save", lambda state, path: save(tree_map_only(Tensor, Tensor.cpu, state), path))
    updater = _updated(device, monkeypatch, {"output": str(tmp_path / "run")})
    folder = create_run_folder(updater.config, 0)
    with device.there():
        folder.save_mid_epoch(updater.weights, updater.info, 0, updater.state())
    state = folder.read_state()
    with device.there():
        updater.restore(state)
    assert load_checkpoint(folder.last).network.num_classes == CLASSES
    restored = [*updater.network.parameters(), *updater.weights.parameters(), *_learned(updater)]
    assert {one.device for one in restored} == {device.device}
