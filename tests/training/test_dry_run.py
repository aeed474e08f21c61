"""`--dry-run` says what a run would be, and leaves nothing behind."""

from pathlib import Path

import pytest
import torch
from helpers.program import run

from fastvit_cli.data import turbojpeg
from fastvit_cli.data.sources import choose_data
from fastvit_cli.models.factory import create_model
from fastvit_cli.training.dry_run import DryRun, dry_run
from fastvit_cli.training.memory_estimate import saved_for_backward
from fastvit_cli.training.resolve_options import option_sources, resolve_config
from fastvit_cli.training.train_options import TrainConfig


def _planned(data: Path, **changes: object) -> DryRun:
    values = {"img_size": 32, "batch_size": 8, "epochs": 4, "workers": 0, **changes}
    config: TrainConfig = resolve_config(values, "demo")
    return dry_run(config, choose_data(str(data)), option_sources(("option", values)))


def test_steps_and_rates(tiny_data: Path) -> None:
    plan = _planned(tiny_data, batch_size=4, total_batch_size=8, warmup_epochs=0.4, lr=0.5, min_lr=0.0, warmup_lr=0.0)
    assert (plan.steps_per_epoch, plan.updates, plan.images_an_update, plan.warmup_updates) == (3, 12, 8, 1)
    assert plan.batch_shape == (4, 3, 32, 32)
    assert len(plan.rates) == 10
    assert plan.rates[0] == (0.0, 0.0)
    epochs, rates = zip(*plan.rates, strict=True)
    assert list(epochs) == sorted(epochs)
    assert max(rates) <= 0.5
    assert rates[-1] < 0.02


def test_whether_jpegs_are_decoded_in_part(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(turbojpeg, "available", lambda there=there: there)
        assert _planned(tiny_data).partial_decoding is there
        assert not _planned(tiny_data, transforms="pil").partial_decoding


def test_memory_of_the_weights(tiny_data: Path) -> None:
    whole, without = _planned(tiny_data), _planned(tiny_data, ema_decay=0.0)
    weights = 4 * whole.cost.params
    assert whole.memory.weights == 5 * weights, "weights, average, gradients and two of AdamW"
    assert without.memory.weights == 4 * weights
    assert whole.trained_parameters == whole.cost.params


def test_memory_of_a_batch_is_what_autograd_keeps() -> None:
    """Counted on shapes, beside a real forward pass."""
    network = create_model("sa12", num_classes=3).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.randn(4, 3, 64, 64))
    real = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
    counted = saved_for_backward(network, 4, 64, train=True)
    assert counted == pytest.approx(real, rel=0.05)
    assert saved_for_backward(network, 8, 64, train=True) == pytest.approx(2 * counted, rel=0.02)


def test_the_command_shows_it_and_writes_nothing(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--dry-run", "--data", tiny_data, "--img-size", 32, "--batch-size", 8, "--workers", 1]
    shown = run(capsys, *words, "--lr", "0.0123")
    assert shown.code == 0
    assert "nothing was trained" in shown.out
    assert "0.0123" in shown.out
    result = run(capsys, *words, "--json").result
    assert result["options"]["batch_size"] == 8
    assert result["steps_per_epoch"] == 3
    assert list(tmp_path.iterdir()) == []


def test_every_option_has_a_source(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("lr: 0.02\nbatch_size: 4\n")
    words = ["train", "--dry-run", "--data", tiny_data, "--img-size", 32, "--batch-size", 8, "--workers", 0]
    result = run(capsys, *words, "--config", "mine.yaml", "--json").result
    sources = result["sources"]
    assert sources.keys() == result["options"].keys()
    assert (sources["batch_size"], result["options"]["batch_size"]) == ("option", 8)
    assert (sources["lr"], sources["ema_decay"], sources["opt"]) == ("file mine.yaml", "recipe scratch", "default")
    monkeypatch.setenv("FASTVIT_DATA", str(tiny_data))
    found = run(capsys, "train", "--dry-run", "--batch-size", "auto", "--img-size", 32, "--workers", 0, "--json")
    assert found.result["sources"]["data"] == "FASTVIT_DATA"
    assert found.result["sources"]["batch_size"] == "option, found"


def test_it_finds_what_would_end_the_run(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "train", "--dry-run", "--data", tiny_data, "--batch-size", 64)
    assert outcome.code == 2
    assert "24 training images" in outcome.err
    unknown = run(capsys, "train", "--dry-run", "--data", tiny_data, "--batch-size", 8, "--opt", "adamx")
    assert unknown.code == 2
    assert "no optimizer 'adamx'" in unknown.err
