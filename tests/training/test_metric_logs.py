"""Curves in TensorBoard and W&B: every point once, however often the run is ended and resumed."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.program import run

from fastvit_cli.training.events import EpochDone, RunStarted, StepDone
from fastvit_cli.training.metric_logs import CurveWriter, MetricLogs, TensorBoard

_STEP = StepDone(1, 1, 4, 2.0, 30.0, 1e-3, 50.0, 0.1, 800.0, 9.0)
_EPOCH = EpochDone(1, 2, 1e-3, 2.0, 20.0, 1.9, 25.0, 70.0, 100.0, 9.0, 0.1, 800.0, 0, True)


def _started(run_dir: Path, resumed_step: int, history: tuple[EpochDone, ...] = ()) -> RunStarted:
    return RunStarted(
        run_dir, "t8", 4, 3, 24, 12, 2, history, resumed_step, 4, 8, 1, 1, 32, 0, "cpu", notes=()
    )  # fmt: skip


def _process(writer: CurveWriter, run_dir: Path, first: int, last: int, loss: float, scored: bool = False) -> None:
    """One process that works on epoch 1 from after step `first` to step `last`."""
    with MetricLogs((writer,)) as logs:
        logs(_started(run_dir, first))
        for step in range(first + 1, last + 1):
            logs(replace(_STEP, step=step, loss=loss))
        if scored:
            logs(_EPOCH)


def test_tensorboard_has_every_point_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state was saved after step 1, the process died after step 3, another one made 2, 3 and 4."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    # Files of one process and second are read in the order of their numbers' digits: 10 before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))

    _process(TensorBoard(), tmp_path, 0, 3, loss=2.0)
    _process(TensorBoard(), tmp_path, 1, 4, loss=1.0)
    _process(TensorBoard(), tmp_path, 4, 4, loss=0.0, scored=True)  # ended again before its scores
    curves = EventAccumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in curves.Scalars("train/loss")] == [(1, 2), (2, 1), (3, 1), (4, 1)]
    assert [(point.step, point.value) for point in curves.Scalars("val/top1")] == [(4, 25.0)]
    assert {"train/lr", "train/top1", "speed/data_wait", "speed/memory_mb", "val/loss"} <= set(
        curves.Tags()["scalars"]
    )


def test_long_epochs_have_fifty_points(tmp_path: Path) -> None:
    written: list[int] = []
    writer = SimpleNamespace(
        start=lambda *_: None, write=lambda _, updates: written.append(updates), close=lambda: None
    )
    with MetricLogs((writer,)) as logs:
        logs(_started(tmp_path, 0))
        for step in range(1, 1252):
            logs(replace(_STEP, step=step, steps=1251, epoch=3))
    assert len(written) == 51
    assert written[0] == 2 * 1251 + 25
    assert written[-1] == 3 * 1251


def test_a_writer_that_fails_is_left_out_and_named_once(tmp_path: Path) -> None:
    written: list[int] = []
    lost: list[str] = []

    def fail(*_: object) -> None:
        raise ConnectionResetError("Connection reset by peer\nand more")

    good = SimpleNamespace(
        start=lambda *_: None, write=lambda _, updates: written.append(updates), close=lambda: written.append(-1)
    )
    broken = SimpleNamespace(name="The service", start=lambda *_: None, write=fail, close=fail)
    with MetricLogs((broken, good), lost.append) as logs:
        logs(_started(tmp_path, 0))
        for step in (1, 2):
            logs(replace(_STEP, step=step))
    assert written == [1, 2, -1]
    assert lost == ["The service failed and gets no more points: Connection reset by peer"]


class _StandIn:
    """As much of wandb as is used: points are refused before the last one, and runs have names."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[int, dict[str, float]]] = {}
        self.inits: list[Mapping[str, Any]] = []

    def init(self, **given: Any) -> Any:
        self.inits.append(given)
        points = self.runs.setdefault(given["id"], {})
        made = SimpleNamespace(step=max(points, default=-1) + 1, finish=lambda: None)

        def log(values: dict[str, float], step: int) -> None:
            assert step >= made.step, "wandb drops it"
            made.step = step
            points.setdefault(step, {}).update(values)

        made.log = log
        return made


def test_wandb_goes_on_with_the_same_run(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = _StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)  # type: ignore[arg-type]
    words = ["--data", tiny_data, "--img-size", 32, "--epochs", 1, "--batch-size", 8, "--workers", 0]
    folder = tmp_path / "run"
    assert run(capsys, "train", "--output", folder, *words, "--wandb").code == 0
    again = run(capsys, "train", "--resume", folder, "--epochs", 2)
    assert again.code == 0, again.err
    first, second = stand_in.inits
    assert first["id"] == second["id"]
    assert (first["project"], first["resume"], first["dir"]) == ("fastvit", "allow", str(folder))
    assert first["config"]["batch_size"] == 8
    (points,) = stand_in.runs.values()
    assert list(points) == [1, 2, 3, 4, 5, 6]
    assert [step for step, values in points.items() if "val/top1" in values] == [3, 6]


def test_wandb_that_is_not_installed(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["train", "--data", tiny_data, "--output", tmp_path / "run", "--img-size", 32, "--batch-size", 8]
    outcome = run(capsys, *words, "--wandb", "birds")
    assert (outcome.code, (tmp_path / "run").exists()) == (2, False)
    assert "pip install wandb" in outcome.err
