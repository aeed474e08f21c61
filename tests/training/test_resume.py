"""A run that is ended anyhow, anywhere, and resumed, is the run that was never ended: to the bit."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from helpers.program import run
from safetensors.torch import load_file

from fastvit_cli.checkpoints.load import LoadedModel, from_tensors, load_checkpoint
from fastvit_cli.data.sources import choose_data
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import reparameterize
from fastvit_cli.training.estimate import TimeLeft
from fastvit_cli.training.events import EpochDone, StepDone, TrainEvent, ValidationProgress
from fastvit_cli.training.resolve_options import config_to_yaml, resolve_config
from fastvit_cli.training.run_folder import RunFolder
from fastvit_cli.training.stopping import Stop
from fastvit_cli.training.train import TrainResult, run_training
from fastvit_cli.training.train_options import TrainConfig

pytestmark = pytest.mark.quick

# Everything random is on: crops, policy, erasing, mixing, drop path.
RANDOM = {
    "mixup": 0.2,
    "cutmix": 1.0,
    "random_erasing": 0.5,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "drop_path": 0.2,
}
TIMES = ("images_per_second", "seconds", "data_wait", "memory_mb")


def _config(output: Path, **changes: object) -> TrainConfig:
    values = {"img_size": 32, "batch_size": 4, "epochs": 3, "workers": 0, "output": str(output), **RANDOM, **changes}
    return resolve_config(values, "demo")


def _go_on(config: TrainConfig, data: Path, loaded: LoadedModel | None = None, **keywords: Any) -> TrainResult:
    """Start the run, or resume it when its folder is there."""
    folder = RunFolder(Path(str(config.output)))
    there = (folder.path / "config.yaml").is_file()
    if there and folder.has_state:
        loaded = load_checkpoint(folder.last)
    return run_training(config, choose_data(str(data)), loaded, folder if there else None, **keywords)


def _assert_same_run(mine: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        first, second = load_file(mine / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    rows = [torch.load(path / "state.pt", weights_only=True)["history"] for path in (mine, other)]
    for one, two in zip(*rows, strict=True):
        assert {key: value for key, value in one.items() if key not in TIMES} == {
            key: value for key, value in two.items() if key not in TIMES
        }


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never ended."""
    path = tmp_path_factory.mktemp("whole") / "run"
    _go_on(_config(path), tiny_data)
    return path


def test_killed_at_random_moments(whole: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Real processes and kill -9: while building, within a step, while saving, while validating."""

    def child_of(name: str) -> Any:
        config = _config(tmp_path / name, save_every=0.0)
        child = multiprocessing.get_context("fork").Process(target=_go_on, args=(config, tiny_data))
        child.start()
        return child

    started = time.monotonic()
    child_of("unharmed").join()
    whole_s = time.monotonic() - started  # machines differ
    delay, kills = random.Random(0), 0
    for _ in range(200):
        child = child_of("run")
        child.join(delay.uniform(0.05, 0.35) * whole_s if kills < 10 else None)
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
        if child.exitcode == 0:
            break
    assert kills >= 3
    _assert_same_run(whole, tmp_path / "run")


def _stop_when(wanted: Any, number: int) -> Any:
    def on_event(event: TrainEvent) -> None:
        if wanted(event):
            os.kill(os.getpid(), number)

    return on_event


@pytest.mark.parametrize(
    ("wanted", "number", "reason"),
    [
        (
            lambda event: isinstance(event, StepDone) and (event.epoch, event.step) == (1, 1),
            signal.SIGINT,
            Stop.INTERRUPTED,
        ),
        (
            lambda event: isinstance(event, StepDone) and (event.epoch, event.step) == (2, 6),
            signal.SIGTERM,
            Stop.TERMINATED,
        ),
        (lambda event: isinstance(event, ValidationProgress), signal.SIGTERM, Stop.TERMINATED),
        (lambda event: isinstance(event, EpochDone), signal.SIGINT, Stop.INTERRUPTED),
    ],
)
def test_a_signal_ends_the_run_within_a_step(
    wanted: Any, number: int, reason: Stop, whole: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = _config(tmp_path / "run")
    handler = signal.getsignal(number)
    stopped = _go_on(config, tiny_data, on_event=_stop_when(wanted, number))
    assert stopped.stopped == reason
    assert signal.getsignal(number) is handler, "handlers are put back"
    assert load_checkpoint(tmp_path / "run" / "last.safetensors")
    resumed = _go_on(config, tiny_data)
    assert resumed.stopped is None
    _assert_same_run(whole, tmp_path / "run")
    trained = [row.images_per_second for row in resumed.history if row.images_per_second]
    assert resumed.images_per_second == median(trained), "an epoch that only waited for its scores had no speed"


def test_a_second_ctrl_c_ends_at_once(tiny_data: Path, tmp_path: Path) -> None:
    def twice(event: TrainEvent) -> None:
        if isinstance(event, StepDone):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _go_on(_config(tmp_path / "run"), tiny_data, on_event=twice)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_time_limit_ends_it_with_the_state_saved(whole: Path, tiny_data: Path, tmp_path: Path) -> None:
    limited = _go_on(_config(tmp_path / "run", time_limit=0.0), tiny_data)
    assert (limited.stopped, limited.epochs) == (Stop.TIME_LIMIT, 0)
    _go_on(_config(tmp_path / "run"), tiny_data)
    _assert_same_run(whole, tmp_path / "run")


def test_patience_ends_it_early(tiny_data: Path, tmp_path: Path) -> None:
    """With a rate too small to change an answer, the first epoch stays the best."""
    config = _config(tmp_path / "run", lr=1e-12, min_lr=0.0, warmup_lr=0.0, epochs=9, patience=2, ema_decay=0.0)
    result = _go_on(config, tiny_data)
    assert result.stopped == Stop.PATIENCE
    assert result.epochs == 3


def test_accumulated_batches_resume_too(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches an update: the place in the epoch counts updates, the loader batches."""
    once, config = tmp_path / "once", _config(tmp_path / "run", total_batch_size=8, epochs=2)
    _go_on(_config(once, total_batch_size=8, epochs=2), tiny_data)
    _go_on(config, tiny_data, on_event=_stop_when(lambda e: isinstance(e, StepDone) and e.step == 2, signal.SIGINT))
    timed: list[float] = []
    monkeypatch.setattr(TimeLeft, "epoch_took", lambda _, seconds: timed.append(seconds))
    history = _go_on(config, tiny_data).history
    assert timed == [history[1].seconds], "the rest of an epoch says nothing about a whole one"
    _assert_same_run(once, tmp_path / "run")


def test_a_frozen_fused_backbone_resumes(tiny_data: Path, tmp_path: Path) -> None:
    backbone = from_tensors(reparameterize(create_model("t8", num_classes=0)).state_dict(), "the backbone")
    changes = {"freeze_backbone": True, "ema_decay": 0.0, "epochs": 2}
    _go_on(_config(tmp_path / "once", **changes), tiny_data, backbone)
    config = _config(tmp_path / "run", **changes)
    stop = _stop_when(lambda event: isinstance(event, EpochDone), signal.SIGINT)
    assert _go_on(config, tiny_data, backbone, on_event=stop).stopped == Stop.INTERRUPTED
    _go_on(config, tiny_data)
    _assert_same_run(tmp_path / "once", tmp_path / "run")


def test_the_program_ends_with_143_and_resumes(whole: Path, tiny_data: Path, tmp_path: Path) -> None:
    """SIGTERM as a scheduler sends it, with worker processes."""
    (tmp_path / "options.yaml").write_text(config_to_yaml(_config(tmp_path, data=str(tiny_data), workers=1)))
    words = [sys.executable, "-m", "fastvit_cli", "train", "--config", "options.yaml", "--output", "run"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        seen = ""
        while "1/3" not in seen:  # the first epoch is done
            line = process.stderr.readline()
            assert line, seen
            seen += line
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGTERM)  # the processes that read images get it too
        assert process.wait(60) == 143, process.stderr.read()
    resumed = subprocess.run(
        [sys.executable, "-m", "fastvit_cli", "train", "--resume", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "Going on after epoch" in resumed.stderr
    _assert_same_run(whole, tmp_path / "run")


def test_a_listener_whose_output_is_gone_ends_the_run_within_a_step(
    whole: Path, tiny_data: Path, tmp_path: Path
) -> None:
    def printing(event: TrainEvent) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 3):
            raise BrokenPipeError

    config = _config(tmp_path / "run")
    stopped = _go_on(config, tiny_data, on_event=printing)
    assert (stopped.stopped, stopped.epochs) == (Stop.OUTPUT_CLOSED, 1)
    _go_on(config, tiny_data)
    _assert_same_run(whole, tmp_path / "run")


def test_the_program_saves_when_nobody_reads_its_output(tiny_data: Path, tmp_path: Path) -> None:
    """As with `2>&1 | head -3`."""
    (tmp_path / "options.yaml").write_text(config_to_yaml(_config(tmp_path, data=str(tiny_data), epochs=99)))
    words = [sys.executable, "-m", "fastvit_cli", "train", "--config", "options.yaml", "--output", "run"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        while b"train loss" not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        assert process.wait(60) == 143
    assert "output closed in epoch" in (tmp_path / "run" / "log.txt").read_text()
    assert (tmp_path / "run" / "state.pt").exists()


def test_what_may_change_and_what_may_not(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path / "run", epochs=1, data=str(tiny_data))
    _go_on(config, tiny_data)
    refused = run(capsys, "train", "--resume", tmp_path / "run", "--lr", "0.5", "--batch-size", "4", "--seed", "3")
    assert refused.code == 2
    assert "--lr 0.003 -> 0.5" in refused.err
    assert "--seed 0 -> 3" in refused.err
    assert "--batch-size" not in refused.err, "the value it has anyway is no change"
    longer = run(capsys, "train", "--resume", tmp_path / "run", "--epochs", "2", "--lr", "0.003", "--json")
    assert longer.result["epochs"] == 2
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()
    assert "With --epochs 2 the learning rate goes on at 1.51e-03; it would have been 1.00e-05." in longer.err


def test_other_data_is_refused_before_anything_is_written(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    _go_on(_config(tmp_path / "run", epochs=1, data=str(data)), data)
    for split in ("train", "val"):
        (data / split / "cross").rename(data / split / "zebra")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    refused = run(capsys, "train", "--resume", tmp_path / "run", "--epochs", "2")
    assert refused.code == 2
    assert "class 'cross' is gone, class 'zebra' is new" in refused.err
    assert f"fastvit train --ckpt {tmp_path / 'run'}" in refused.err
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_that_saved_nothing_starts_from_its_beginning(
    whole: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config_to_yaml(_config(tmp_path, data=str(tiny_data))))
    outcome = run(capsys, "train", "--resume", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "Nothing was saved yet" in outcome.err
    _assert_same_run(whole, tmp_path / "run")


def test_a_full_disk_leaves_the_state_before(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    config = _config(tmp_path / "run")

    def full_after_the_first(event: TrainEvent) -> None:
        if isinstance(event, EpochDone) and event.epoch == 1:
            monkeypatch.setattr(torch, "save", _no_space)

    with pytest.raises(Exception, match="No space left"):
        _go_on(config, tiny_data, on_event=full_after_the_first)
    monkeypatch.undo()
    assert len(torch.load(tmp_path / "run" / "state.pt", weights_only=True)["history"]) == 1
    assert not list((tmp_path / "run").glob(".*")), "no half-written file is left"
    _go_on(config, tiny_data)
    _assert_same_run(whole, tmp_path / "run")


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    config, folder = _config(tmp_path), RunFolder(tmp_path)
    for name in (".state.pt.k2x1.pt", ".last.safetensors.9_az.safetensors", ".config.yaml.b.yaml", ".mine.txt"):
        (tmp_path / name).touch()
    RunFolder(tmp_path, writes=False).record_change(config, "resumed")
    assert len(list(tmp_path.iterdir())) == 4, "the main process does it"
    folder.record_change(config, "resumed")
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "log.txt", ".mine.txt"}


def test_a_file_size_limit_reads_as_the_user_s_and_not_as_a_bug_of_ours(tmp_path: Path) -> None:
    """torch says it with a RuntimeError."""
    resource = pytest.importorskip("resource")
    folder = RunFolder(tmp_path)
    folder.write_state({"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(FastViTError, match=r"Writing '.*state\.pt' failed") as caught:
            folder.write_state({"epoch": 2, "network": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--resume" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert folder.read_state() == {"epoch": 1}


def _no_space(_: object, path: Path) -> None:
    path.write_bytes(b"half a sta")
    raise OSError(28, "No space left on device")
