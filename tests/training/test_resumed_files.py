"""`--resume` of a run whose files were lost, damaged or edited since, or whose data has moved."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.program import Outcome, run

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.training.state_file import read_state, write_state

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, of which the second one is the best."""
    from fastvit_cli.app import main

    folder = tmp_path_factory.mktemp("finished")
    data = Path(shutil.copytree(tiny_data, folder / "data"))
    words = ["--img-size", "32", "--batch-size", "8", "--epochs", "2", "--workers", "0", "--lr", "0.002"]
    assert main(["train", "--data", str(data), *words, "--output", str(folder / "run"), "--quiet"]) == 0
    return folder


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, whose best epoch is the first."""
    path = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    _make_best(path, 1)
    return path


def _make_best(path: Path, epoch: int) -> None:
    state = read_state(path / "state.pt", "")
    for row in state["history"]:
        row["is_best"] = row["epoch"] == epoch
    write_state(path / "state.pt", state)
    loaded = load_checkpoint(path / "last.safetensors")
    top1 = state["history"][epoch - 1]["val_top1"]
    save_checkpoint(path / "best.safetensors", loaded.network, replace(loaded.info, epoch=epoch, top1=top1))


def _resume(capsys: Capture, path: Path, *words: object) -> Outcome:
    return run(capsys, "train", "--resume", path, *words, "--json")


def _refused(capsys: Capture, path: Path, *words: object) -> dict[str, str]:
    """The two lines of a run that is not resumed, of which nothing was written."""
    before = {file: file.read_bytes() for file in path.iterdir()}
    outcome = _resume(capsys, path, *words)
    assert outcome.code == 2, outcome.err
    assert {file: file.read_bytes() for file in path.iterdir()} == before
    return outcome.error


def test_an_edited_config_is_refused_with_the_difference(run_dir: Path, capsys: Capture) -> None:
    config = run_dir / "config.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("img_size:")]
    config.write_text("\n".join(lines).replace("lr: 0.002", "lr: 0.2", 1).replace("\nseed: 0", "\nseed: 5"))
    error = _refused(capsys, run_dir, "--epochs", 3)
    assert "img_size 32 -> missing" in error["message"]
    assert "seed 0 -> 5" in error["message"]
    assert "lr 0.002 -> 0.2" in error["message"]
    assert "epochs" not in error["message"]
    assert "remove config.yaml" in error["hint"]
    config.unlink()
    resumed = _resume(capsys, run_dir, "--epochs", 3)
    assert resumed.result["epochs"] == 3
    assert "config.yaml is missing: written again" in resumed.err
    assert "\nimg_size: 32\n" in config.read_text()
    assert "\nepochs: 3\n" in config.read_text()


def test_a_config_that_is_none_is_refused_with_the_way_on(run_dir: Path, capsys: Capture) -> None:
    (run_dir / "config.yaml").write_text("{{{")
    assert "remove it: --resume then goes on with the options in state.pt" in _refused(capsys, run_dir)["hint"]


def test_what_may_change_in_the_config_is_said(run_dir: Path, capsys: Capture) -> None:
    config = run_dir / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 3", 1))
    resumed = _resume(capsys, run_dir)
    assert resumed.result["epochs"] == 3
    assert "Changed in config.yaml since the state was saved: epochs 2 -> 3." in resumed.err
    assert _resume(capsys, run_dir, "--patience", 9).code == 0
    assert "\npatience: 9\n" in config.read_text()
    assert "Changed" not in _resume(capsys, run_dir).err, "the state has them too, though nothing was trained"


def test_fewer_epochs_than_were_done_are_refused(run_dir: Path, capsys: Capture) -> None:
    error = _refused(capsys, run_dir, "--epochs", 1)
    assert error["message"] == "The run has done epoch 2, and --epochs is 1."
    assert "--epochs 2 or more" in error["hint"]


def test_lost_last_weights_are_written_again(run_dir: Path, capsys: Capture) -> None:
    last = run_dir / "last.safetensors"
    before = last.read_bytes()
    for damage in (last.unlink, lambda: last.write_bytes(before[:-100])):
        damage()
        resumed = _resume(capsys, run_dir)
        assert resumed.code == 0
        assert "last.safetensors was missing or damaged: written again from the state." in resumed.err
        assert last.read_bytes() == before


def test_lost_best_weights_that_the_state_has_are_written_again(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    _make_best(path, 2)
    before = (path / "best.safetensors").read_bytes()
    (path / "best.safetensors").unlink()
    resumed = _resume(capsys, path)
    assert "best.safetensors was missing: written again from the state." in resumed.err
    assert (path / "best.safetensors").read_bytes() == before
    assert resumed.result["best_epoch"] == 2


def test_lost_best_weights_are_said_and_no_more_reported(run_dir: Path, capsys: Capture) -> None:
    (run_dir / "best.safetensors").unlink()
    resumed = _resume(capsys, run_dir)
    assert "in epoch 1, are lost; those of epoch 2" in resumed.err
    assert resumed.result["best_epoch"] == 2
    assert load_checkpoint(run_dir / "best.safetensors").info.epoch == 2
    with (run_dir / "metrics.csv").open() as file:
        assert [row["is_best"] for row in csv.DictReader(file)] == ["False", "True"]
    again = _resume(capsys, run_dir)
    assert (again.code, again.result["best_epoch"]) == (0, 2)
    assert "best.safetensors" not in again.err


def test_lost_best_weights_in_the_midst_of_an_epoch_leave_no_best(run_dir: Path, capsys: Capture) -> None:
    """The state's own weights are between two scores: none of them has one."""
    (run_dir / "best.safetensors").unlink()
    state = read_state(run_dir / "state.pt", "")
    write_state(run_dir / "state.pt", {**state, "epoch": 2, "step": 1})
    stopped = _resume(capsys, run_dir, "--epochs", 3, "--time-limit", 0)
    assert "are lost; the next epoch takes their place." in stopped.err
    assert (stopped.result["best_ckpt"], stopped.result["top1"], stopped.result["epochs"]) == (None, None, 2)
    assert "before the next epoch was finished" in run(capsys, "train", "--resume", run_dir, "--time-limit", 0).out
    assert run(capsys, "train", "--resume", run_dir, "--json", "--time-limit", 5).result["best_epoch"] == 3


@pytest.mark.parametrize("damage", ["bit", "other epoch"])
def test_best_weights_that_are_not_the_run_s_are_refused(damage: str, run_dir: Path, capsys: Capture) -> None:
    best = run_dir / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-1000] ^= 1
    best.write_bytes(content if damage == "bit" else (run_dir / "last.safetensors").read_bytes())
    error = _refused(capsys, run_dir)
    said = (
        "their checksum differs" if damage == "bit" else "holds the weights of epoch 2, and the best of the run is 1"
    )
    assert said in error["message"]
    assert "or remove it" in error["hint"]


def test_a_run_killed_between_its_best_weights_and_its_state_goes_on(run_dir: Path, capsys: Capture) -> None:
    """The file is one epoch ahead of the state, which comes to the same weights again."""
    loaded = load_checkpoint(run_dir / "last.safetensors")
    save_checkpoint(run_dir / "best.safetensors", loaded.network, replace(loaded.info, epoch=3, top1=99.0))
    assert _resume(capsys, run_dir, "--epochs", 3).code == 0


def test_a_state_that_is_gone_is_missed(run_dir: Path, capsys: Capture) -> None:
    """It must not start from its beginning, over the weights that are there."""
    (run_dir / "state.pt").unlink()
    error = _refused(capsys, run_dir)
    assert "is gone, and the run has finished epochs" in error["message"]
    assert f"fastvit train --ckpt {run_dir}" in error["hint"]


def test_a_damaged_state_is_refused(run_dir: Path, capsys: Capture) -> None:
    content = bytearray((run_dir / "state.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (run_dir / "state.pt").write_bytes(content)
    error = _refused(capsys, run_dir)
    assert "cannot be read (it is damaged" in error["message"]
    assert f"fastvit train --ckpt {run_dir}" in error["hint"]


def test_data_that_moved_is_found_at_its_new_place(
    finished: Path, run_dir: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.copytree(finished / "data", tmp_path / "moved"))
    config = run_dir / "config.yaml"
    config.write_text(config.read_text().replace(str(finished / "data"), str(tmp_path / "gone")))
    error = _refused(capsys, run_dir)
    assert "There is no data folder" in error["message"]
    assert "Pass --data" in error["hint"]
    monkeypatch.chdir(tmp_path)
    assert _resume(capsys, run_dir, "--data", "moved", "--epochs", 3).result["epochs"] == 3
    assert config.read_text().startswith(f"data: {moved}\n")
    assert load_checkpoint(run_dir / "last.safetensors").info.data == str(moved)
    assert _resume(capsys, run_dir).code == 0
    (moved / "train" / "star" / "00.jpg").unlink()
    assert "there are 23 training images and were 24" in _refused(capsys, run_dir, "--data", "moved")["message"]
