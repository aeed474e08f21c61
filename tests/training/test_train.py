import math
import os
import shutil
import signal
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.data.sources import choose_data
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.training import train, train_step
from fastvit_cli.training.estimate import TimeLeft
from fastvit_cli.training.events import (
    BatchHalved,
    EpochDone,
    ImagesListed,
    RunStarted,
    StepDone,
    TimeEstimated,
    TrainEvent,
    UpdateSkipped,
)
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.run_folder import RunFolder
from fastvit_cli.training.stopping import Stop
from fastvit_cli.training.train import TrainResult, run_training
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.trainer import Trainer


def _config(output: Path, **changes: object) -> TrainConfig:
    values = {"img_size": 32, "batch_size": 8, "epochs": 2, "workers": 0, "output": str(output), **changes}
    return resolve_config(values, "demo")


def _train(data: Path, config: TrainConfig) -> tuple[TrainResult, list[TrainEvent]]:
    events: list[TrainEvent] = []
    return run_training(config, choose_data(str(data)), on_event=events.append), events


def test_events_tell_the_run(tiny_data: Path, tmp_path: Path) -> None:
    result, events = _train(tiny_data, _config(tmp_path / "run"))
    events = [event for event in events if not isinstance(event, ImagesListed)]
    assert isinstance(events[0], RunStarted)
    assert events[0].steps_per_epoch == 3
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [1, 2]
    assert len([event for event in events if isinstance(event, TimeEstimated)]) == 1
    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps[-1].step == steps[-1].steps == 3
    assert steps[-1].seconds_left >= 0
    assert result.history == tuple(event for event in events if isinstance(event, EpochDone))


def test_the_same_seed_gives_the_same_weights_whatever_the_workers(tiny_data: Path, tmp_path: Path) -> None:
    mixing = {"mixup": 0.2, "random_erasing": 0.25, "auto_augment": "rand-m9-mstd0.5-inc1", "drop_path": 0.1}
    first, _ = _train(tiny_data, _config(tmp_path / "a", **mixing))
    second, _ = _train(tiny_data, _config(tmp_path / "b", workers=2, **mixing))
    other, _ = _train(tiny_data, _config(tmp_path / "c", seed=1, **mixing))
    a, b, c = (load_file(result.last_ckpt) for result in (first, second, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_best_holds_the_weights_that_were_scored(tiny_data: Path, tmp_path: Path) -> None:
    """The moving average is what is scored; best and last are it, not the raw weights in the state."""
    result, _ = _train(tiny_data, _config(tmp_path / "run", epochs=1))
    saved = load_file(tmp_path / "run" / "best.safetensors")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in state["ema"].items())
    assert any(not torch.equal(saved[name], value) for name, value in state["network"].items())
    info = load_checkpoint(tmp_path / "run" / "best.safetensors").info
    assert (info.top1, info.epoch, info.class_names) == (result.top1, 1, ("circle", "cross", "star"))
    assert info.recipe["epochs"] == 1


def test_without_an_average_the_weights_themselves_are_saved(tiny_data: Path, tmp_path: Path) -> None:
    _train(tiny_data, _config(tmp_path / "run", epochs=1, ema_decay=0.0))
    saved = load_file(tmp_path / "run" / "last.safetensors")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in state["network"].items())


def test_training_learns(tiny_data: Path, tmp_path: Path) -> None:
    result, _ = _train(tiny_data, _config(tmp_path / "run", epochs=6, label_smoothing=0.0, ema_decay=0.0, lr=1e-3))
    losses = [row.train_loss for row in result.history]
    assert losses[-1] < losses[0] - 0.1, losses


def test_amp_trains(tiny_data: Path, tmp_path: Path) -> None:
    result, _ = _train(tiny_data, _config(tmp_path / "run", epochs=1, amp=True))
    assert result.history[0].train_loss == pytest.approx(1.1, abs=0.3)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_data: Path, tmp_path: Path) -> None:
    config = replace(_config(tmp_path / "run", warmup_epochs=0.0, ema_decay=0.0), lr=1e30)
    with pytest.raises(WorkFailedError, match="Training diverged"):
        _train(tiny_data, config)


def test_weights_without_finite_logits_are_never_the_best(tiny_data: Path, tmp_path: Path) -> None:
    """The one update of the epoch ruins them, and no loss follows that would show it."""
    config = replace(_config(tmp_path / "run", warmup_epochs=0.0, ema_decay=0.0, epochs=1, batch_size=24), lr=1e30)
    with pytest.raises(WorkFailedError, match="Training diverged: the weights of epoch 1 give no finite logits"):
        _train(tiny_data, config)
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_one_bad_batch_is_left_out_and_harms_nothing(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its update is skipped and counted, and BatchNorm's statistics are what they were before it."""

    plain, calls = train_step.normalize, []

    def spoilt(images: torch.Tensor, info: object) -> torch.Tensor:
        calls.append(1)
        pixels = plain(images, info)  # type: ignore[arg-type]
        return pixels * float("inf") if len(calls) == 2 else pixels

    monkeypatch.setattr(train_step, "normalize", spoilt)
    result, events = _train(tiny_data, _config(tmp_path / "run", epochs=1, ema_decay=0.0))
    assert [(event.epoch, event.step) for event in events if isinstance(event, UpdateSkipped)] == [(1, 2)]
    assert result.skipped_updates == 1
    assert all(value.isfinite().all() for value in load_file(result.last_ckpt).values())
    assert math.isfinite(result.history[0].train_loss)
    assert math.isfinite(result.history[0].val_loss)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["skipped"]["total"] == 1


def test_accumulating_two_halves_is_close_to_the_whole_batch(tiny_data: Path, tmp_path: Path) -> None:
    """Not equal: BatchNorm sees half of the images at once."""
    whole, _ = _train(tiny_data, _config(tmp_path / "whole", epochs=1, batch_size=8))
    halves, events = _train(tiny_data, _config(tmp_path / "halves", epochs=1, batch_size=4, total_batch_size=8))
    assert len([event for event in events if isinstance(event, StepDone)]) == 3
    assert halves.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_grad": 0.01},
        {"clip_grad": 0.01, "clip_mode": "value"},
        {"clip_grad": 0.01, "clip_mode": "agc"},
        {"opt": "sgd"},
        {"layer_decay": 0.5},
        {"decay_layer_scale": False, "weight_decay": 5.0},
        {"weight_decay_end": 9.0},
        {"class_weights": "balanced", "max_bad_images": 100.0},
        {"bce": True, "mixup": 0.5, "bce_threshold": 0.2},
        {"mixup": 0.5},
        {"mixup": 0.5, "mixup_off_epoch": 1},
        {"cutmix": 1.0, "mixup_prob": 0.5},
    ],
)
def test_options_of_the_update_have_their_effect(changes: dict[str, object], tiny_data: Path, tmp_path: Path) -> None:
    data = tiny_data
    if "class_weights" in changes:
        data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
        for path in sorted((data / "train" / "circle").iterdir())[:6]:
            path.unlink()
    common = {"epochs": 1, "ema_decay": 0.0}
    plain, _ = _train(data, _config(tmp_path / "plain", **common))
    changed, _ = _train(data, _config(tmp_path / "changed", **common, **changes))
    differ = any(
        not torch.equal(one, other)
        for one, other in zip(load_file(plain.last_ckpt).values(), load_file(changed.last_ckpt).values(), strict=True)
    )
    assert differ == ("mixup_off_epoch" not in changes)


def test_float16_trains_with_a_scaler_that_resumes(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU without bfloat16. Updates that the scaler leaves out do not count as bad ones."""

    monkeypatch.setattr(train_step, "autocast_dtype", lambda _: torch.float16)
    config = _config(tmp_path / "run", epochs=1, amp=True, clip_grad=1.0)
    result, _ = _train(tiny_data, config)
    assert result.skipped_updates == 0
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["scaler"]["scale"] > 0
    longer = replace(config, epochs=2)
    folder = RunFolder(tmp_path / "run")
    resumed = run_training(longer, choose_data(str(tiny_data)), load_checkpoint(folder.last), folder)
    assert resumed.epochs == 2


def test_a_run_of_bfloat16_goes_on_in_float16(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device may change; the scaler that another one needs begins then."""

    config = _config(tmp_path / "run", epochs=1, amp=True)
    _train(tiny_data, config)
    monkeypatch.setattr(train_step, "autocast_dtype", lambda _: torch.float16)
    folder = RunFolder(tmp_path / "run")
    resumed = run_training(
        replace(config, epochs=2), choose_data(str(tiny_data)), load_checkpoint(folder.last), folder
    )
    assert resumed.epochs == 2


def test_compiling_keeps_the_names_of_the_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def pretend(network: torch.nn.Module) -> torch.nn.Module:
        compiled.append(network)
        return torch.nn.Sequential(network)

    monkeypatch.setattr(torch, "compile", pretend)
    plain, _ = _train(tiny_data, _config(tmp_path / "plain", epochs=1))
    assert not compiled
    result, _ = _train(tiny_data, _config(tmp_path / "run", epochs=1, compile=True))
    assert len(compiled) == 1
    mine, theirs = load_file(result.last_ckpt), load_file(plain.last_ckpt)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_channels_last_is_refused_on_a_cpu(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match="torch crashes"):
        _train(tiny_data, _config(tmp_path / "run", channels_last=True))
    assert not (tmp_path / "run").exists()


def test_a_disk_with_too_little_space_is_said_before(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    with pytest.raises(FastViTError, match="the disk has 100 MB left"):
        _train(tiny_data, _config(tmp_path / "runs" / "run"))
    assert not (tmp_path / "runs").exists()


def test_out_of_memory_halves_the_batch_and_keeps_the_update(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    plain = train_step.normalize

    def small_device(images: torch.Tensor, info: object) -> torch.Tensor:
        if len(images) > 4:
            raise MemoryError  # what torch makes of C++'s bad_alloc
        return plain(images, info)  # type: ignore[arg-type]

    monkeypatch.setattr(train_step, "normalize", small_device)
    result, events = _train(tiny_data, _config(tmp_path / "run", epochs=1, batch_size=8))
    assert [event for event in events if isinstance(event, BatchHalved)] == [BatchHalved(4, 2)]
    assert len([event for event in events if isinstance(event, StepDone)]) == 3
    assert result.epochs == 1
    assert "batch_size: 4\ntotal_batch_size: 8" in (tmp_path / "run" / "config.yaml").read_text()
    asked, _ = _train(tiny_data, _config(tmp_path / "asked", epochs=1, batch_size=4, total_batch_size=8))
    mine, theirs = load_file(result.last_ckpt), load_file(asked.last_ckpt)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with pytest.raises(WorkFailedError, match="out of memory with 6 images"):
        _train(tiny_data, _config(tmp_path / "odd", batch_size=6, mixup=0.2))
    monkeypatch.setattr(train_step, "normalize", _no_memory)
    with pytest.raises(WorkFailedError, match="out of memory with 2 images"):
        _train(tiny_data, _config(tmp_path / "none", batch_size=8))
    assert not (tmp_path / "none").exists(), "a failed start stands in nobody's way"


def test_the_first_network_is_gone_before_the_next_is_built(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both together would need the memory that is lacking. It is a MemoryError where Python itself ran out."""
    plain, build = train_step.normalize, train.build_trainer
    networks: list[weakref.ref[torch.nn.Module]] = []
    alive_at_build: list[int] = []

    def watched(*args: Any) -> Trainer:
        alive_at_build.append(sum(network() is not None for network in networks))
        trainer = build(*args)
        networks.append(weakref.ref(trainer.train_step.network))
        return trainer

    def small_device(images: torch.Tensor, info: object) -> torch.Tensor:
        if len(images) > 2:
            raise MemoryError
        return plain(images, info)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "build_trainer", watched)
    monkeypatch.setattr(train_step, "normalize", small_device)
    _train(tiny_data, _config(tmp_path / "run", epochs=1, batch_size=8))
    assert alive_at_build == [0, 0, 0]


def _no_memory(*_: object) -> torch.Tensor:
    return torch.empty(1 << 60, dtype=torch.uint8)  # more than any machine has; of a CPU it is a plain RuntimeError


def test_a_run_that_saved_something_outlives_its_failure(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    _train(tiny_data, _config(run, epochs=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    monkeypatch.setattr("fastvit_cli.training.train_step.normalize", _no_memory)
    with pytest.raises(WorkFailedError):
        run_training(_config(run, epochs=2), choose_data(str(tiny_data)), resume=RunFolder(run))
    assert (run / "best.safetensors").exists()
    assert (run / "config.yaml").exists()
    with pytest.raises(WorkFailedError):
        _train(tiny_data, _config(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_stopped_before_the_first_epoch_is_finished(tiny_data: Path, tmp_path: Path) -> None:
    def stop(event: TrainEvent) -> None:
        if isinstance(event, StepDone):
            os.kill(os.getpid(), signal.SIGINT)

    result = run_training(_config(tmp_path / "run"), choose_data(str(tiny_data)), on_event=stop)
    assert (result.stopped, result.epochs, result.best_ckpt, result.top1) == (Stop.INTERRUPTED, 0, None, None)
    assert load_checkpoint(result.last_ckpt).info.top1 is None


def test_time_left_is_told_once_and_shrinks() -> None:
    clock = TimeLeft(steps=100, epochs=4, validation_share=0.0)
    clock.steps_took(5, 1.0)
    assert clock.estimate_once() is None, "too early to tell"
    clock.steps_took(50, 10.0)
    assert clock.estimate_once() == pytest.approx(80.0)
    assert clock.estimate_once() is None
    assert clock.after(epoch=1, steps_done=50) == pytest.approx(50.0)
    clock.epoch_took(30.0)
    assert clock.after(epoch=1, steps_done=0) == pytest.approx(90.0)


def test_a_frozen_backbone_trains_its_head_alone_even_fused(tiny_data: Path, tmp_path: Path) -> None:
    from fastvit_cli.checkpoints.load import from_tensors
    from fastvit_cli.models.factory import create_model
    from fastvit_cli.models.fusion import reparameterize

    backbone = from_tensors(reparameterize(create_model("t8", num_classes=0)).state_dict(), "the backbone")
    config = _config(tmp_path / "run", epochs=1, freeze_backbone=True, ema_decay=0.0)
    result = run_training(config, choose_data(str(tiny_data)), backbone)
    trained = load_checkpoint(result.last_ckpt)
    assert (trained.info.form, trained.info.num_classes) == ("branches", 3)
    before, after = backbone.network.state_dict(), trained.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert after["head.fc.weight"].abs().sum() > 0
    with pytest.raises(FastViTError, match="its branches are gone"):
        run_training(_config(tmp_path / "other", epochs=1), choose_data(str(tiny_data)), backbone)
    assert not (tmp_path / "other").exists()
