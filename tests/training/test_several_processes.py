"""Two real processes on gloo: the same run as one that takes their batches in turn, stopped, killed and resumed."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.program import run
from safetensors.torch import load_file

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.data.sources import choose_data
from fastvit_cli.distributed import World, joined
from fastvit_cli.training.events import ImageUnreadable, StepDone, TrainEvent, ValidationProgress
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.run_folder import RunFolder
from fastvit_cli.training.train import run_training
from fastvit_cli.training.train_options import TrainConfig

pytestmark = pytest.mark.quick

OPTIONS = {
    "img_size": 32,
    "batch_size": 4,
    "total_batch_size": 8,
    "epochs": 2,
    "workers": 0,
    "opt": "sgd",
    "lr": 0.05,
    "drop_path": 0.2,
    "mixup": 0.2,
    "cutmix": 1.0,
    "random_erasing": 0.5,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "max_bad_images": 20,
}
# Of the training images the first one is met by one process in the first epoch and by the other in the second, the
# other one by the second process alone.
DAMAGED = ("train/circle/00.jpg", "train/circle/01.jpg", "val/circle/02.jpg", "val/cross/01.jpg")
Listener = Callable[[TrainEvent], None]


def _config(output: Path, processes: int, **changes: object) -> TrainConfig:
    return resolve_config({**OPTIONS, "output": str(output), "world_size": processes, **changes}, "demo")


def _one_process(config: TrainConfig, data: Path, rank: int, port: int, listener: Listener) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    world, folder = World(rank, 2, rank, 2), RunFolder(Path(str(config.output)), writes=rank == 0)
    loaded = load_checkpoint(folder.last) if folder.has_state else None
    with joined(world, "cpu"):
        result = run_training(
            config, choose_data(str(data)), loaded, folder if folder.has_state else None, listener, world
        )
        sys.exit(0 if result.stopped is None else 99)


def _nothing(_: TrainEvent) -> None:
    pass


def _note(file: Path, event: TrainEvent) -> None:
    if isinstance(event, ImageUnreadable):
        with file.open("a") as names:
            names.write(f"{event.name}\n")


def _end_me(event: TrainEvent) -> None:
    if isinstance(event, StepDone) and (event.epoch, event.step) == (1, 2):
        os.kill(os.getpid(), signal.SIGTERM)


def _kill_me(event: TrainEvent) -> None:
    if isinstance(event, ValidationProgress):
        os.kill(os.getpid(), signal.SIGKILL)


def _pair(
    config: TrainConfig, data: Path, listeners: tuple[Listener, Listener] = (_nothing, _nothing)
) -> list[int | None]:
    """Two processes of one run, to their ends; their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Forked from a process that has only imported: one in which autograd has run cannot be forked for training.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastvit_cli.training.train"])
    processes = [
        context.Process(target=_one_process, args=(config, data, rank, port, listeners[rank])) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data with images that cannot be read, met by one process or the other."""
    root = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("damaged") / "data"))
    for name in DAMAGED:
        (root / name).write_bytes((root / name).read_bytes()[:200])
    return root


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that was never ended, with the names beside it that the first one was told."""
    path = tmp_path_factory.mktemp("pair") / "run"
    assert _pair(_config(path, 2), data, (partial(_note, path.with_name("named.txt")), _nothing)) == [0, 0]
    return path


def test_two_processes_are_one_that_accumulates(pair: Path, data: Path, tmp_path: Path) -> None:
    single = tmp_path / "single"
    run_training(_config(single, 1), choose_data(str(data)))
    ours, theirs = (torch.load(path / "state.pt", weights_only=True) for path in (pair, single))
    assert ours["history"][-1]["train_loss"] == pytest.approx(theirs["history"][-1]["train_loss"], abs=1e-5)
    assert ours["history"][-1]["train_top1"] == theirs["history"][-1]["train_top1"]
    assert (
        [row["unreadable"] for row in ours["history"]] == [row["unreadable"] for row in theirs["history"]] == [4, 4]
    )
    # BatchNorm's statistics are averaged here and follow one another there: weights are what must agree.
    compared = 0
    for key, value in theirs["network"].items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(ours["network"][key], value, rtol=0, atol=2e-5)
            compared += value.numel()
    assert compared > 3_000_000


def test_each_unreadable_image_is_named_once_whoever_met_it(pair: Path, data: Path) -> None:
    named = pair.with_name("named.txt").read_text().splitlines()
    assert sorted(named) == [str(data / name) for name in DAMAGED]


def test_the_scores_of_two_are_those_of_one_to_the_last_digit(
    pair: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = torch.load(pair / "state.pt", weights_only=True)["history"][-1]
    words = ["validate", "--ckpt", pair / "last.safetensors", "--data", data, "--json", "--engine", "torch"]
    words += ["--max-bad-images", 20]
    alone = run(capsys, *words).result
    assert (scored["val_top1"], scored["val_loss"]) == (alone["top1"], alone["loss"])


def test_validating_with_two_gives_what_one_gives(pair: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", "--ckpt", str(pair / "last.safetensors"), "--data", str(data), "--json"]
    words += ["--batch-size", "2", "--workers", "0", "--max-bad-images", "20"]  # several batches each
    alone = run(capsys, *words).result
    program = [sys.executable, "-m", "fastvit_cli", *words, "--nproc-per-node=2"]
    outcome = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    together = json.loads(outcome.stdout)["result"]
    speed = ("images_per_second", "data_wait")
    assert alone["num_images"] == 10
    assert len(alone["unreadable"]) == 2
    assert {key: alone[key] for key in alone if key not in speed} == {
        key: together[key] for key in together if key not in speed
    }


@pytest.mark.parametrize("option", ["--compare=other.onnx", "--report=there", "--check-data"])
def test_what_one_process_does(option: str, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "validate", "--ckpt", pair, "--nproc-per-node=2", option)
    assert outcome.code == 2
    assert f"{option.partition('=')[0]} is the work of one process." in outcome.err


def test_a_stop_of_one_stops_both_and_the_resumed_run_is_the_same(pair: Path, data: Path, tmp_path: Path) -> None:
    config = _config(tmp_path / "run", 2)
    assert _pair(config, data, (_nothing, _end_me)) == [99, 99]
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (0, 2)

    # The validation has one batch, which is the first process's; the second one loses it.
    assert _pair(config, data, (_kill_me, _nothing)) == [-signal.SIGKILL, 1]
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"], len(state["history"])) == (0, 3, 0)
    assert _pair(config, data) == [0, 0]
    for name in ("best.safetensors", "last.safetensors"):
        first, second = load_file(pair / name), load_file(tmp_path / "run" / name)
        assert all(torch.equal(first[key], second[key]) for key in first), name


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return sorted(int(pid) for pid, ppid in map(str.split, listed.splitlines()) if int(ppid) == parent)


def test_a_killed_process_ends_all_with_its_name_and_the_run_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    """As typed: the launcher, two processes, kill -9 on one of them, --resume."""
    config, run_dir = replace(_config(tmp_path / "run", 2), output=None), tmp_path / "run"
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items() if getattr(config, name) is not None
    ]
    program = [sys.executable, "-m", "fastvit_cli", "train", "--json"]
    words = [*program, "--nproc-per-node=2", "--data", str(tiny_data), "--output", str(run_dir), "--save-every=0"]
    # Until it is killed it must not end.
    running = subprocess.Popen(
        [*words, *options, "--epochs=1000"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.csv").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    killed = _children(running.pid)[-1]
    os.kill(killed, signal.SIGKILL)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 1, err
    assert re.fullmatch(
        r"Process [01] of the run was killed \(SIGKILL\); the others were ended\.",
        json.loads(out)["error"]["message"],
    )
    assert "Traceback" not in err
    # Not the number of epochs it has done already, and it may have been in the midst of one.
    done = torch.load(run_dir / "state.pt", weights_only=True)["epoch"]
    resumed = subprocess.run(
        [*program, "--resume", str(run_dir), f"--epochs={done + 1}"], capture_output=True, text=True, timeout=120
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["result"]["epochs"] == done + 1


def test_resuming_with_another_number_of_processes_is_refused(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "train", "--resume", pair, "--nproc-per-node", 3)
    assert outcome.code == 2
    assert "made by 2 processes, and this would be 3" in outcome.err


def test_a_mistake_is_said_once(tiny_data: Path, tmp_path: Path) -> None:
    words = ["train", "--nproc-per-node=2", "--data", str(tiny_data), "--output", str(tmp_path / "run")]
    outcome = subprocess.run(
        [sys.executable, "-m", "fastvit_cli", *words, "--batch-size=400"], capture_output=True, text=True, timeout=120
    )
    assert outcome.returncode == 2, outcome.stderr
    assert "elastic" not in outcome.stderr
    assert outcome.stderr.count("There are 24 training images and an update takes 800.") == 1
    assert not (tmp_path / "run").exists()
