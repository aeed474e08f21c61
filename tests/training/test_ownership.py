"""One process at a time trains a run, and a run that begins gets a folder of its own."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.program import run

from fastvit_cli.errors import FastViTError
from fastvit_cli.training import run_folder
from fastvit_cli.training.ownership import owned
from fastvit_cli.training.resolve_options import config_to_yaml, resolve_config
from fastvit_cli.training.run_folder import create_run_folder
from fastvit_cli.training.train_options import TrainConfig

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")


def _own(run_dir: Path, ready: int) -> None:
    """Own the run for good, with a process beside it such as those that read images."""
    with owned(run_dir):
        worker = os.fork()
        if worker:
            os.write(ready, worker.to_bytes(8, "little"))
        time.sleep(600)


@contextmanager
def _owner(run_dir: Path) -> Iterator[tuple[int, int]]:
    """Ids of another process that trains the run, and of its worker."""
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_own, args=(run_dir, writing))
    process.start()
    worker = int.from_bytes(os.read(reading, 8), "little")
    assert process.pid is not None
    try:
        yield process.pid, worker
    finally:
        process.kill()
        os.kill(worker, signal.SIGKILL)
        process.join()
        os.close(reading)
        os.close(writing)


def test_another_process_is_kept_off_until_the_owner_is_gone(tmp_path: Path) -> None:
    """Its worker processes may outlive a kill -9, and own nothing."""
    with _owner(tmp_path) as (pid, worker):
        with pytest.raises(FastViTError, match=f"is being trained by process {pid} on "), owned(tmp_path):
            pytest.fail("the block must not run")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.kill(worker, 0)  # still there
        with owned(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


def test_a_lock_that_its_owner_removes_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    lock, calls = fcntl.lockf, []

    def after_the_owner_ended(file: object, how: int) -> None:
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(lock(file, how))  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "lockf", after_the_owner_ended)
    with owned(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert len(calls) == 2


def test_a_run_in_training_is_not_resumed_beside_it(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_to_yaml(resolve_config({"data": str(tiny_data), "workers": 0}, "demo"))
    (tmp_path / "config.yaml").write_text(config)
    with _owner(tmp_path) as (pid, _):
        outcome = run(capsys, "train", "--resume", tmp_path)
    assert outcome.code == 2
    assert f"'{tmp_path}' is being trained by process {pid}" in outcome.err
    assert (tmp_path / "config.yaml").read_text() == config


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [Path("runs/train/a"), Path("runs/train/b")]  # neither is there when the two look
    monkeypatch.setattr(run_folder, "_unused_names", lambda _: iter(names))
    folders = [create_run_folder(TrainConfig(), 0) for _ in range(2)]
    assert [folder.path for folder in folders] == names


def test_of_two_runs_with_the_same_output_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = create_run_folder(TrainConfig(output=str(tmp_path / "run"), epochs=3), 0)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was when the second one looked
    monkeypatch.setattr(run_folder, "check_space", lambda *_: None)
    with pytest.raises(FastViTError, match="holds a run already"):
        create_run_folder(TrainConfig(output=str(tmp_path / "run"), epochs=9), 0)
    assert "epochs: 3\n" in (first.path / "config.yaml").read_text()
