"""The recipes of the package: what each of them sets, which one is chosen, and what goes before it."""

import zipfile
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from helpers.loaded import saved_model
from helpers.program import run

from fastvit_cli.data.mixing import MixingConfig
from fastvit_cli.data.transforms import Augmentation, training_transform
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import VARIANTS, get_variant
from fastvit_cli.training.given_options import read_given_options
from fastvit_cli.training.plan import PlanSteps, plan_run
from fastvit_cli.training.recipe_files import RECIPES, read_recipe
from fastvit_cli.training.resolve_options import config_to_yaml, read_config_file, recipe_values, resolve_config
from fastvit_cli.training.train_options import TrainConfig

FAMILY = ("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36")
PER_VARIANT = ("imagenet", "imagenet-distilled")
EVERY = [(name, variant) for name in RECIPES for variant in (FAMILY if name in PER_VARIANT else VARIANTS)]

# What was published: variant, crop, then drop path and mixup from labels, and the same two for distillation.
PUBLISHED = [
    ("t8", 0.90, 0.0, 0.2, 0.0, 0.2),
    ("t12", 0.90, 0.0, 0.2, 0.0, 0.2),
    ("s12", 0.90, 0.0, 0.2, 0.0, 0.2),
    ("sa12", 0.90, 0.1, 0.2, 0.0, 0.8),
    ("sa24", 0.90, 0.1, 0.2, 0.05, 0.8),
    ("sa36", 0.95, 0.2, 0.2, 0.1, 0.8),
    ("ma36", 0.95, 0.35, 0.8, 0.2, 0.8),
]
PUBLISHED_FOR_ALL = {
    "img_size": 256,
    "epochs": 310,
    "cooldown_epochs": 10,
    "warmup_epochs": 5.0,
    "warmup_lr": 1e-6,
    "lr": 1e-3,
    "min_lr": 1e-5,
    "batch_size": 128,
    "total_batch_size": 1024,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "ema_decay": 0.9995,
    "clip_grad": None,
    "amp": True,
    "min_scale": 0.08,
    "hflip": 0.5,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "cutmix": 1.0,
    "random_erasing": 0.25,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)


@pytest.fixture
def _demo_at_hand(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which recipe is chosen does not depend on what the demo images show."""
    monkeypatch.setattr("fastvit_cli.data.sources.ensure_demo_dataset", lambda **_: tiny_data)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_recipe_of_every_variant_is_a_whole_configuration(name: str, variant: str) -> None:
    config = resolve_config({"variant": variant}, name)
    assert config.recipe == name
    assert config.variant == variant
    assert config.warmup_epochs <= config.epochs / 5, "a longer warm-up would be cut"
    assert config.cooldown_epochs < config.epochs
    MixingConfig(config.mixup, config.cutmix, config.random_erasing, config.label_smoothing)
    policy = None if config.auto_augment == "none" else config.auto_augment
    augmentation = Augmentation(config.min_scale, config.hflip, policy, config.color_jitter)
    training_transform(default_preprocessing(get_variant(variant)), augmentation, config.transforms)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_a_recipe_says_how_to_train_and_not_what(name: str, variant: str) -> None:
    about_one_run = {
        "variant",
        "ckpt",
        "pretrained",
        "data",
        "output",
        "config",
        "resume",
        "recipe",
        "seed",
        "device",
    }
    assert not about_one_run & set(recipe_values(name, variant))


@pytest.mark.parametrize(("variant", "crop_pct", "drop_path", "mixup", "dropped", "mixed"), PUBLISHED)
def test_the_imagenet_recipes_are_what_was_published(
    variant: str, crop_pct: float, drop_path: float, mixup: float, dropped: float, mixed: float
) -> None:
    for name, rate, alpha in (
        ("imagenet", drop_path, mixup),
        ("imagenet-distilled", dropped, mixed),
    ):
        config = asdict(resolve_config({"variant": variant}, name))
        expected = PUBLISHED_FOR_ALL | {"crop_pct": crop_pct, "drop_path": rate, "mixup": alpha}
        assert {key: config[key] for key in expected} == expected
        taught = name == "imagenet-distilled"
        assert config["teacher"] == ("regnety_160.deit_in1k" if taught else None)
        assert (config["distillation_type"], config["distillation_alpha"]) == ("hard", 0.5)
    row = get_variant(variant)
    assert (row.crop_pct, row.drop_path, row.drop_path_distilled) == (crop_pct, drop_path, dropped)


def test_the_recipe_for_384_pixels_is_what_was_published() -> None:
    config = resolve_config({"variant": "sa36"}, "imagenet-384")
    assert (config.img_size, config.epochs, config.crop_pct) == (384, 30, 1.0)
    assert (config.lr, config.weight_decay, config.total_batch_size) == (5e-6, 1e-8, 512)
    assert (config.warmup_epochs, config.cooldown_epochs) == (0.0, 0)


def test_fine_tuning_is_gentler_than_training_from_scratch() -> None:
    finetune, scratch = (resolve_config({}, name) for name in ("finetune", "scratch"))
    assert finetune.lr < scratch.lr
    assert finetune.epochs < scratch.epochs
    assert finetune.ema_decay < scratch.ema_decay
    assert finetune.min_scale > scratch.min_scale
    assert finetune.mixup < scratch.mixup
    assert finetune.random_erasing < scratch.random_erasing
    assert finetune.crop_pct is None, "that of the weights"


def test_a_variant_is_found_under_its_long_name() -> None:
    assert recipe_values("imagenet", "FastViT_MA36")["drop_path"] == 0.35


def test_every_file_belongs_to_a_recipe() -> None:
    """A file that no name leads to would be dead, and a misspelt one a recipe without its values."""
    root = Path(str(resources.files("fastvit_cli.training") / "recipes"))
    assert {path.name for path in root.iterdir()} == {f"{name}.yaml" for name in RECIPES}


def test_the_wheel_holds_the_recipes(tmp_path: Path) -> None:
    builder = WheelBuilder(str(Path(__file__).parents[2]))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {f"fastvit_cli/training/recipes/{name}.yaml" for name in RECIPES} <= names


@pytest.mark.parametrize("name", PER_VARIANT)
@pytest.mark.parametrize("variant", ["mci0", "mci1", "mci2"])
def test_a_variant_that_was_never_trained_so_has_no_recipe(name: str, variant: str) -> None:
    with pytest.raises(FastViTError, match=variant) as caught:
        read_recipe(name, variant)
    assert "from t8 to ma36" in caught.value.hint


def _planned(**typed: Any) -> TrainConfig:
    return plan_run(read_given_options(typed)).config


def _planned_and_noted(**typed: Any) -> tuple[TrainConfig, list[str]]:
    notes: list[str] = []
    plan = plan_run(read_given_options(typed), PlanSteps(lambda note: notes.append(note.text)))
    return plan.config, notes


def _weights(folder: Path, variant: str) -> str:
    return str(saved_model(folder / "w.safetensors", variant).path)


def test_class_folders_are_trained_from_scratch(tiny_data: Path) -> None:
    config, noted = _planned_and_noted(data=str(tiny_data))
    assert (config.recipe, config.epochs) == ("scratch", recipe_values("scratch", "t8")["epochs"])
    assert noted == ["Recipe: scratch (random weights; --recipe chooses another)."]


@pytest.mark.usefixtures("_demo_at_hand")
def test_the_demo_has_its_own_recipe_with_and_without_weights(tmp_path: Path) -> None:
    config, noted = _planned_and_noted()
    assert config.recipe == "demo"
    assert noted == ["Recipe: demo (the demo images; --recipe chooses another)."]
    weights = _weights(tmp_path, "t8")
    assert _planned(data="demo", ckpt=weights).recipe == "demo"
    assert _planned(recipe="finetune", ckpt=weights, data="demo").recipe == "finetune"


def test_weights_are_fine_tuned(tiny_data: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path, "t8")
    config, noted = _planned_and_noted(data=str(tiny_data), ckpt=weights)
    assert (config.recipe, config.lr) == ("finetune", 2e-4)
    assert noted == ["Recipe: finetune (weights to start from; --recipe chooses another)."]


def test_the_file_is_that_of_the_variant_of_the_weights(tiny_data: Path, tmp_path: Path) -> None:
    weights = _weights(tmp_path, "sa12")
    config = _planned(data=str(tiny_data), ckpt=weights, recipe="imagenet")
    assert (config.variant, config.drop_path) == ("sa12", 0.1)


@pytest.mark.parametrize("name", ["finetune", "imagenet-384"])
def test_a_recipe_for_weights_says_so_where_there_are_none(name: str, tiny_data: Path) -> None:
    _, noted = _planned_and_noted(data=str(tiny_data), recipe=name)
    assert noted == [
        f"Recipe: {name} (--recipe).",
        f"Recipe {name} is meant for weights to start from; pass --ckpt or --pretrained.",
    ]


def test_option_before_file_before_recipe_before_default(tiny_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: imagenet\nvariant: sa24\nepochs: 50\nlr: 0.0005\n")
    config, noted = _planned_and_noted(data=str(tiny_data), config=str(file), epochs=20)
    assert config.epochs == 20, "typed"
    assert config.lr == 0.0005, "in the file"
    assert (config.recipe, config.drop_path, config.cooldown_epochs) == ("imagenet", 0.1, 10), "in the recipe"
    assert config.clip_mode == TrainConfig.clip_mode, "the default"
    assert noted == ["Recipe: imagenet (named in the --config file). What the --config file sets goes before it."]
    other = _planned(data=str(tiny_data), config=str(file), recipe="scratch", variant="t8")
    assert (other.recipe, other.lr, other.cooldown_epochs) == ("scratch", 0.0005, 0)


@pytest.mark.parametrize("given", [{}, {"recipe": "finetune"}, {"data": "demo"}], ids=["same", "recipe", "demo"])
@pytest.mark.usefixtures("_demo_at_hand")
def test_a_saved_configuration_is_not_changed_by_any_recipe(
    given: dict[str, Any], tiny_data: Path, tmp_path: Path
) -> None:
    first = _planned(data=str(tiny_data), recipe="imagenet", variant="ma36", lr=0.002)
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(first))
    assert read_config_file(file)["recipe"] == "imagenet"
    again = _planned(config=str(file), **given)
    assert asdict(again) == asdict(first) | given | {"config": str(file)}


def test_a_saved_configuration_of_an_earlier_version_keeps_its_values(tiny_data: Path, tmp_path: Path) -> None:
    """Its file names no recipe, and it started from weights: what it holds stands, whatever is chosen now."""
    weights = _weights(tmp_path, "t8")
    file = tmp_path / "config.yaml"
    file.write_text(f"ckpt: {weights}\ndata: {tiny_data}\nvariant: t8\nlr: 0.001\nepochs: 100\nema_decay: 0.9995\n")
    config = _planned(config=str(file))
    assert (config.recipe, config.lr, config.epochs, config.ema_decay) == ("finetune", 0.001, 100, 0.9995)


def test_a_resumed_run_applies_no_recipe(tiny_data: Path, tmp_path: Path) -> None:
    saved = "recipe: imagenet\nvariant: sa24\nepochs: 7\n"
    (tmp_path / "config.yaml").write_text(f"{saved}data: {tiny_data}\n")
    config = _planned(resume=str(tmp_path))
    assert (config.recipe, config.epochs) == ("imagenet", 7)
    assert (config.drop_path, config.cooldown_epochs) == (TrainConfig.drop_path, TrainConfig.cooldown_epochs)
    with pytest.raises(FastViTError, match="--recipe"):
        _planned(resume=str(tmp_path), recipe="scratch")


def test_values_that_must_fit_together_are_judged_beside_the_recipe(tiny_data: Path) -> None:
    """96 is no multiple of the option's own default, and 100 epochs would be too few for the cool-down."""
    config = _planned(data=str(tiny_data), recipe="finetune", total_batch_size=96, ckpt=None)
    assert (config.batch_size, config.accumulation) == (32, 3)
    config = _planned(data=str(tiny_data), recipe="imagenet", cooldown_epochs=100)
    assert (config.epochs, config.cooldown_epochs) == (310, 100)


def test_the_total_batch_stays_whatever_fits_at_once(tiny_data: Path) -> None:
    config = _planned(data=str(tiny_data), recipe="imagenet", batch_size=32)
    assert (config.total_batch_size, config.accumulation) == (1024, 32)
    config = _planned(data=str(tiny_data), recipe="imagenet", batch_size=96, total_batch_size=96)
    assert config.accumulation == 1


@pytest.mark.parametrize(
    ("processes", "at_once", "accumulation"), [(1, 128, 8), (2, 128, 4), (8, 128, 1), (16, 64, 1), (64, 16, 1)]
)
def test_the_total_batch_stays_whatever_the_number_of_processes(
    processes: int, at_once: int, accumulation: int
) -> None:
    config = resolve_config({"variant": "sa24", "world_size": processes}, "imagenet-distilled")
    assert (config.batch_size, config.accumulation, config.effective_batch_size) == (at_once, accumulation, 1024)


def test_a_total_batch_that_the_processes_cannot_divide() -> None:
    with pytest.raises(FastViTError, match="no multiple of --batch-size 128 in 3 processes") as caught:
        resolve_config({"world_size": 3}, "imagenet")
    assert caught.value.hint == "Pass --total-batch-size 1152."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "imagnet"], "Did you mean 'imagenet'? Pass one of: demo, scratch, finetune, frozen, imagenet,"),
        (["--recipe", "imagenet", "--variant", "mci0"], "a --variant from t8 to ma36"),
        (["--recipe", "imagenet", "--batch-size", 96], "Pass --total-batch-size 1056."),
    ],
    ids=["unknown", "variant", "batch"],
)
def test_what_cannot_be_is_said_in_two_lines(
    words: list[Any], said: str, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(capsys, "train", "--data", tiny_data, *words)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 2, "before anything was announced"
    assert said in outcome.err


def test_a_recipe_in_a_file_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("recipe: imagnet\n")
    with pytest.raises(FastViTError, match="imagnet") as caught:
        _planned(config=str(tmp_path / "c.yaml"))
    assert "Did you mean 'imagenet'?" in caught.value.hint
    with pytest.raises(FastViTError, match="--recipe"):
        TrainConfig(recipe="imagnet")
