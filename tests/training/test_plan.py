"""What `train` means by its options, before anything is trained: the run to resume, the weights, the processes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.loaded import saved_model

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.checkpoints.select import BEST, CONFIG, LAST, ModelSource, load_source
from fastvit_cli.data.sources import DataChoice, choose_data
from fastvit_cli.errors import FastViTError
from fastvit_cli.options import TrainedData
from fastvit_cli.training.given_options import read_given_options
from fastvit_cli.training.plan import PlanNote, PlanSteps, RunPlan, plan_run
from fastvit_cli.training.resolve_options import config_to_yaml, read_config_file
from fastvit_cli.training.run_folder import STATE
from fastvit_cli.training.state_file import write_state


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)
    Path("photos").symlink_to(tiny_data)


def _planned(**typed: object) -> RunPlan:
    return plan_run(read_given_options(typed))


def _run_folder(name: str, at: int, *written: str, **options: object) -> Path:
    """A run folder of which these files were written at that time, beside its config.yaml."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    config = _planned(**{"data": "photos", **options}).config
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
    plan = _planned(resume="latest")
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
    plan = _planned(resume="latest")
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
    again = _planned(config=str(second / CONFIG))
    resumed = _planned(resume=str(second))
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
        {"ckpt": "local-dir:runs/first", "teacher": "local-dir:runs/first/best.safetensors"},
    ):
        plan = _planned(**{**typed, "resume": "runs/mine", **again})
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
        _planned(**{"resume": "runs/mine", "teacher": "regnety_160.deit_in1k", **other})
    assert said in caught.value.message


def test_steps_are_shown_in_the_order_they_are_made() -> None:
    saved_model(_run_folder("first", 10) / BEST)
    _run_folder("mine", 20, ckpt="runs/first")
    steps: list[object] = []

    def load_weights(source: ModelSource) -> LoadedModel:
        steps.append(source.path)
        return load_source(source)

    def choose(data: str | None, trained_on: TrainedData | None) -> DataChoice:
        steps.append((data, trained_on))
        return choose_data(data, trained_on)

    shown = PlanSteps(steps.append, load_weights, choose)
    best, photos = Path("runs/first") / BEST, str(Path("photos").resolve())
    plan_run(read_given_options({"ckpt": "runs/first", "data": "photos", "recipe": "scratch"}), shown)
    assert steps == [best, ("photos", TrainedData("demo")), PlanNote("Recipe: scratch (--recipe).")]
    steps.clear()
    plan_run(read_given_options({"resume": "runs/mine"}), shown)
    nothing = PlanNote("Nothing was saved yet: the run starts from its beginning.", is_warning=True)
    assert steps == [nothing, (None, TrainedData(photos)), best.resolve()]


@pytest.mark.parametrize(
    ("typed", "launched", "processes"),
    [
        ({}, None, 1),
        ({}, 4, 4),
        ({"nproc_per_node": 3}, None, 3),
        ({"config": "options.yaml"}, None, 5),
        ({"config": "options.yaml", "nproc_per_node": 3}, None, 3),
        ({"config": "options.yaml"}, 4, 4),
        ({"resume": "latest"}, None, 2),
        ({"resume": "latest", "config": "options.yaml"}, None, 2),
        ({"resume": "latest", "nproc_per_node": 2}, None, 2),
        ({"resume": "latest"}, 2, 2),
    ],
)
def test_how_many_processes_a_run_has(typed: dict[str, object], launched: int | None, processes: int) -> None:
    Path("options.yaml").write_text("nproc_per_node: 5\n")
    _run_folder("mine", 10, nproc_per_node=2)
    assert read_given_options(typed, launched).processes == processes


@pytest.mark.parametrize(
    ("typed", "launched", "said"),
    [
        ({"nproc_per_node": 2}, 2, "typed twice"),
        ({"resume": "latest", "nproc_per_node": 2}, 2, "typed twice"),
        ({"resume": "latest", "nproc_per_node": 3}, None, "made by 2 processes, and this would be 3"),
        ({"resume": "latest"}, 1, "made by 2 processes, and this would be 1"),
    ],
)
def test_a_number_of_processes_that_cannot_be(typed: dict[str, object], launched: int | None, said: str) -> None:
    _run_folder("mine", 10, nproc_per_node=2)
    with pytest.raises(FastViTError, match=said):
        read_given_options(typed, launched)


def test_all_processes_are_told_the_same_run() -> None:
    """The latest one may be another before the last of them looks."""
    mine = _run_folder("mine", 10)
    assert read_given_options({"resume": "latest"}).typed == {"resume": str(mine)}
