"""`train` before any process trains: the device that they join on, and the words that they are started with."""

from pathlib import Path

import pytest

from fastvit_cli.commands.train import train
from fastvit_cli.distributed import World
from fastvit_cli.errors import FastViTError
from fastvit_cli.ui.session import Session


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "device"),
    [
        ({}, "auto"),
        ({"config": "options.yaml"}, "cpu"),
        ({"config": "options.yaml", "device": "cuda"}, "cuda"),
        ({"resume": "latest"}, "cpu"),
        ({"resume": "runs/mine", "config": "other.yaml"}, "cuda"),
        ({"resume": "runs/mine", "device": "mps"}, "mps"),
    ],
)
def test_processes_join_on_the_device_of_file_and_run(
    given: dict[str, str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run on CPUs would be refused for too few GPUs."""
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/config.yaml").write_text("device: cpu\n")
    Path("options.yaml").write_text("device: cpu\n")
    Path("other.yaml").write_text("device: cuda\n")

    def joined(_: World, device: str) -> None:
        raise FastViTError(f"joined on {device}", "")

    monkeypatch.setattr("fastvit_cli.commands.train.joined", joined)
    with pytest.raises(FastViTError, match=f"^joined on {device}$"):
        train(given, Session("train", quiet=True))


def test_the_launcher_types_again_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the number of processes, and with the run that --resume means now."""
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/config.yaml").write_text("device: cpu\nworld_size: 2\n")
    launched = []
    monkeypatch.setattr("fastvit_cli.commands.train.launch", lambda *words: launched.append(words) or 7)
    typed = {"resume": "latest", "nproc_per_node": 2, "epochs": 9}
    assert train(typed, Session("train", quiet=True)) == 7
    resume = f"--resume={Path('runs/mine')}"
    assert launched == [(["train", resume, "--epochs=9", "--quiet"], 2, "cpu")]
