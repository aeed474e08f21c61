"""What is watched while a run trains, on a terminal of 80 columns and without one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fastvit_cli.training.events import EpochDone, RunStarted, StepDone, TimeEstimated
from fastvit_cli.training.train import TrainResult
from fastvit_cli.ui.plots import plot_curves
from fastvit_cli.ui.session import Session
from fastvit_cli.ui.training_view import TrainingView, training_result

_STARTED = RunStarted(
    run_dir=Path("run"),
    variant="t8",
    parameters=4_000_000,
    classes=1000,
    train_images=1_281_167,
    val_images=50_000,
    epochs=310,
    history=(),
    resumed_step=0,
    steps_per_epoch=1251,
    batch_size=128,
    accumulation=8,
    processes=1,
    img_size=256,
    workers=8,
    device="cuda:0",
    notes=(),
)


def _step(memory_mb: float | None) -> StepDone:
    return StepDone(
        epoch=310,
        step=625,
        steps=1251,
        loss=2.3456,
        top1=45.67,
        lr=1.25e-3,
        images_per_second=12345.0,
        data_wait=0.073,
        memory_mb=memory_mb,
        seconds_left=7500.0,
    )


def _watched(width: int, memory_mb: float | None = 11444.1, terminal: bool = True) -> str:
    session, shown = Session("train"), io.StringIO()
    session.stderr = Console(file=shown, force_terminal=terminal, width=width, color_system=None, highlight=False)
    with TrainingView(session) as view:
        view(_STARTED)
        view(_step(memory_mb))
        view(TimeEstimated(9000.0))
    return shown.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_bars_tell_what_limits_a_run(width: int) -> None:
    shown = _watched(width)
    for words in ("2 h 05 min left", "lr 1.25e-03", "12.0 GB of memory", "loss 2.346", "top-1 45.7", "wait 7 %"):
        assert words in shown
    assert "12345 images/s  wait 7 %" in shown, "not broken off at the edge"


def test_without_a_terminal_memory_is_said_once() -> None:
    shown = _watched(80, terminal=False)
    assert "about 2 h 30 min, with 12.0 GB of memory." in shown
    assert "loss" not in shown.replace("train loss", "").replace("val loss", "")


def test_a_memory_that_the_system_does_not_tell() -> None:
    assert "memory" not in _watched(80, memory_mb=None)


def _row(epoch: int, top1: float, loss: float, is_best: bool) -> EpochDone:
    return EpochDone(
        epoch=epoch,
        epochs=9,
        lr=1e-3,
        train_loss=1.0,
        train_top1=50.0,
        val_loss=loss,
        val_top1=top1,
        val_top5=90.0,
        images_per_second=0.0,
        seconds=2.0,
        data_wait=0.0,
        memory_mb=None,
        unreadable=0,
        is_best=is_best,
    )


def test_the_curves_mark_the_epoch_that_best_safetensors_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first one of that top-1, and not a higher one whose weights are lost."""
    from matplotlib.axes import Axes

    marked: list[object] = []
    monkeypatch.setattr(Axes, "annotate", lambda _, text, place, **__: marked.append((text, place)))
    history = [
        _row(1, 80.0, 0.5, False),
        _row(2, 50.0, 0.9, True),
        _row(3, 50.0, 0.8, True),
        _row(4, 40.0, 0.7, False),
    ]
    plot_curves(history, tmp_path / "curves.png")
    plot_curves(history[:1], tmp_path / "curves.png")
    assert marked == [("50.0", (3, 50.0))]


def test_a_run_that_only_waited_for_its_scores_has_no_speed() -> None:
    """Its one epoch was trained, and timed, before it was resumed."""
    row = _row(1, 50.0, 1.0, is_best=True)
    result = TrainResult(
        run_dir=Path("run"),
        best_ckpt=Path("run/best.safetensors"),
        last_ckpt=Path("run/last.safetensors"),
        variant="fastvit_t8",
        epochs=1,
        best_epoch=1,
        top1=50.0,
        top5=90.0,
        loss=1.0,
        images_per_second=None,
        seconds=2.0,
        stopped=None,
        skipped_updates=0,
        fused=True,
        remarks=("It is well.",),
        history=(row,),
    )
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as shown:
        console.print(training_result(result))
    assert "images/s" not in shown.get()
    assert "It is well." in shown.get()
    assert "reparam" not in shown.get(), "there is nothing left to fuse"
