from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fastvit_cli.errors import FastViTError
from fastvit_cli.options import option_spec
from fastvit_cli.training.recipe_files import DEMO_RECIPE, RECIPES
from fastvit_cli.training.resolve_options import config_to_yaml, read_config_file, recipe_values, resolve_config
from fastvit_cli.training.train_options import TrainConfig


def test_what_was_typed_wins_over_the_recipe_over_the_default() -> None:
    config = resolve_config({"epochs": 3}, DEMO_RECIPE)
    assert config.epochs == 3
    assert config.img_size == recipe_values(DEMO_RECIPE, "t8")["img_size"] == 64
    assert config.hflip == TrainConfig.hflip


def test_a_saved_configuration_reads_back(tmp_path: Path) -> None:
    config = resolve_config({"variant": "sa24", "data": "photos", "amp": True, "output": "x"}, DEMO_RECIPE)
    (tmp_path / "config.yaml").write_text(config_to_yaml(config))
    again = resolve_config(read_config_file(tmp_path / "config.yaml"), recipe=None)
    assert again.output is None, "where a run is, is no part of its recipe"
    assert resolve_config({**read_config_file(tmp_path / "config.yaml"), "output": "x"}, recipe=None) == config


def test_whole_numbers_are_rates_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("warmup-epochs: 2\nlr: 0.5\nworkers: null\n")
    values = read_config_file(tmp_path / "c.yaml")
    assert values == {"warmup_epochs": 2.0, "lr": 0.5, "workers": None}
    assert isinstance(values["warmup_epochs"], float)


def test_a_rate_without_a_point_is_a_number(tmp_path: Path) -> None:
    """YAML takes it for text."""
    (tmp_path / "c.yaml").write_text("lr: 5e-4\nclip_grad: 1e0\nvariant: t8\n")
    assert read_config_file(tmp_path / "c.yaml") == {"lr": 5e-4, "clip_grad": 1.0, "variant": "t8"}
    (tmp_path / "c.yaml").write_text("lr: fast\n")
    with pytest.raises(FastViTError, match="sets 'lr' to 'fast'"):
        read_config_file(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": float("inf")},
        {"lr": float("nan")},
        {"clip_grad": 0.0},
        {"layer_decay": 0.0},
        {"label_smoothing": 1.0},
        {"ema_decay": 1.0},
        {"variant": "xx"},
    ],
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(FastViTError):
        TrainConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alone", "other"),
    [
        ({"bce_threshold": 0.2}, {"bce": True}),
        ({"clip_mode": "agc"}, {"clip_grad": 1.0}),
        ({"distillation_alpha": 0.3}, {"teacher": "resnet50"}),
        ({"distillation_type": "soft", "distillation_tau": 2.0}, {"teacher": "resnet50"}),
        ({"mixup_prob": 0.5, "mixup": 0.0, "cutmix": 0.0}, {"cutmix": 1.0}),
    ],
)
def test_what_has_no_effect_alone_is_refused(alone: dict[str, object], other: dict[str, object]) -> None:
    with pytest.raises(FastViTError, match="which is off") as refused:
        TrainConfig(**alone)  # type: ignore[arg-type]
    assert f"--{next(iter(other)).replace('_', '-')}" in refused.value.hint
    TrainConfig(**{**alone, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize("other", ["compile", "freeze_backbone"])
def test_blocks_are_recomputed_only_where_that_helps(other: str) -> None:
    with pytest.raises(FastViTError, match=f"--{other.replace('_', '-')} ") as refused:
        TrainConfig(grad_checkpointing=True, **{other: True})  # type: ignore[arg-type]
    assert "--grad-checkpointing" in refused.value.hint


def test_the_help_says_where_a_recipe_has_its_own_value() -> None:
    set_by_recipes = {name for recipe in RECIPES for variant in ("t8", "sa24") for name in _values(recipe, variant)}
    texts = {item.name: option_spec(item.metadata) for item in fields(TrainConfig)}
    for name in set_by_recipes:
        spec = texts[name]
        assert spec is not None
        assert any(word in str(spec.default_text) for word in ("recipe", "demo")), name


def _values(recipe: str, variant: str) -> dict[str, Any]:
    try:
        return recipe_values(recipe, variant)
    except FastViTError:  # a recipe of other variants
        return {}
