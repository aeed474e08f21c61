"""What `train` means by its options, before anything is trained: the run to resume, the weights, the device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.loaded import saved_model

from fastvit_cli.checkpoints.select import BEST, CONFIG, LAST
from fastvit_cli.commands import train as command
from fastvit_cli.commands.train import _plan, _resumed_plan
from fastvit_cli.distributed import World
from fastvit_cli.errors import FastViTError
from fastvit_cli.training.config_layers import config_to_yaml, read_config_file
from fastvit_cli.training.run_folder import STATE
from fastvit_cli.training.state_file import write_state
from fastvit_cli.ui.session import Session

QUIET = Session("train", quiet=True)


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)
    Path("photos").symlink_to(tiny_data)


def _run_folder(name: str, at: int, *written: str, **options: object) -> Path:
    """A run folder of which these files were written at that time, beside its config.yaml."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    config = _plan({"data": "photos", **options}, QUIET).config
    (folder / CONFIG).write_text(config_to_yaml(config))
    for file in (CONFIG, *written):
        if file != CONFIG:
            (folder / file).touch()
        os.utime(folder / file, (at, at))
    return folder


def test_the_latest_run_may_have_saved_nothing_yet() -> None:
    _run_folder("train/finished", 10, BEST, LAST, STATE)
    killed = _run_folder("flowers", 20)
    _run_folder("train/oldest", 5, BEST, LAST, STATE)
    plan = _resumed_plan({"resume": "latest"}, QUIET)
    assert plan.folder is not None
    assert (plan.folder.path, plan.folder.has_state) == (killed, False)


def test_the_latest_run_is_the_one_that_saved_last() -> None:
    long = _run_folder("long", 10)
    _run_folder("short", 20)
    loaded = saved_model(long / LAST)
    info = replace(loaded.info, recipe=read_config_file(long / CONFIG))
    state = {"network": loaded.network.state_dict(), "info": info.to_json(), "epoch": 0, "step": 0}
    write_state(long / STATE, state)
    Path("runs/fused").mkdir()
    saved_model(Path("runs/fused") / LAST)  # weights alone are no run
    plan = _resumed_plan({"resume": "latest"}, QUIET)
    assert plan.folder is not None
    assert plan.folder.path == long


@pytest.mark.parametrize("typed", ["latest", "runs/first", "runs/first/best.safetensors"])
def test_the_weights_to_start_from_stay_those_that_were_meant(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's config.yaml is run again, or resumed from its beginning, later and from another working directory."""
    first = _run_folder("first", 10)
    saved_model(first / BEST)
    weights = (first / BEST).resolve()
    second = _run_folder("second", 20, ckpt=typed).resolve()
    saved_model(_run_folder("third", 30) / BEST)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = _plan({"config": str(second / CONFIG)}, QUIET)
    resumed = _resumed_plan({"resume": str(second)}, QUIET)
    for plan in (again, resumed):
        assert plan.config.ckpt == str(weights)
        assert plan.loaded is not None
        assert plan.loaded.path == weights


def test_a_resumed_run_takes_its_own_options_as_they_were_typed(tmp_path: Path) -> None:
    """However a place or a variant is written, it is the same one."""
    saved_model(_run_folder("first", 10) / BEST)
    Path("map.txt").write_text("circle\ncross\nstar\n")
    typed = {"variant": "FastViT_t8", "data": "photos", "ckpt": "runs/first", "class_map": "map.txt"}
    typed |= {"teacher": "runs/first/best.safetensors", "recipe": "finetune"}
    path = _run_folder("mine", 20, **typed)
    for again in (
        {"output": "runs/mine"},
        {
            "output": str(path.resolve()),
            "variant": "t8",
            "data": f"{tmp_path}/photos/",
            "teacher": "runs/first/../first/best.safetensors",
        },
        {"ckpt": "latest"},
        {"ckpt": "runs/first/best.safetensors"},
    ):
        plan = _resumed_plan({**typed, "resume": "runs/mine", **again}, QUIET)
        assert plan.config.ckpt == str((Path("runs/first") / BEST).resolve())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data": "elsewhere"}, "/data -> elsewhere"),
        ({"data": "demo"}, "--data"),
        ({"variant": "sa12"}, "--variant t8 -> sa12"),
        ({"output": "runs/first"}, "--output runs/mine -> runs/first"),
        ({"ckpt": "latest"}, "--ckpt None -> latest"),
        ({"ckpt": "runs/first"}, "--ckpt None -> runs/first"),
        ({"teacher": "regnety_040.ra3_in1k"}, "--teacher regnety_160.deit_in1k -> regnety_040.ra3_in1k"),
    ],
)
def test_other_options_are_refused_as_they_were_typed(other: dict[str, str], said: str) -> None:
    _run_folder("mine", 10, variant="t8", teacher="regnety_160.deit_in1k")
    with pytest.raises(FastViTError) as caught:
        _resumed_plan({"resume": "runs/mine", "teacher": "regnety_160.deit_in1k", **other}, QUIET)
    assert said in caught.value.message


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
    _run_folder("mine", 10, device="cpu")
    Path("options.yaml").write_text("device: cpu\n")
    Path("other.yaml").write_text("device: cuda\n")
    devices = []

    @contextmanager
    def joined(_: World, device: str) -> Iterator[None]:
        devices.append(device)
        yield

    monkeypatch.setattr(command, "joined", joined)
    monkeypatch.setattr(command, "_train", lambda *_: 0)
    assert command.train(given, QUIET) == 0
    assert devices == [device]
