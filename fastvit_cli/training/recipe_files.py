"""The recipes that come with the package: their names, which one is meant, and their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.models.variants import Variant, get_variant

DEMO_RECIPE, SCRATCH_RECIPE, FINETUNE_RECIPE, FROZEN_RECIPE = "demo", "scratch", "finetune", "frozen"
_IMAGENET, _DISTILLED = _PUBLISHED = ("imagenet", "imagenet-distilled")
RECIPES = (DEMO_RECIPE, SCRATCH_RECIPE, FINETUNE_RECIPE, FROZEN_RECIPE, *_PUBLISHED, "imagenet-384")
_FOR_WEIGHTS = frozenset((FINETUNE_RECIPE, FROZEN_RECIPE, "imagenet-384"))
_ANOTHER = "--recipe chooses another"


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe of a run.

    Attributes:
        reason: why this one, for the user to read.
        warning: one sentence where it cannot do what it was made for, else empty.
    """

    name: str
    reason: str
    warning: str = ""


def choose_recipe(typed: str | None, in_file: str | None, *, demo: bool, weights: bool, frozen: bool) -> RecipeChoice:
    """Decide which recipe is meant.

    Args:
        typed, in_file: what `--recipe` names, and a `recipe:` line of the `--config` file.
        demo: whether the demo images are trained on.
        weights: whether the run starts from weights.
        frozen: whether these stay as they are, but for the classifier.
    """
    name = typed or in_file
    if name is not None:
        warning = f"Recipe {name} is meant for weights to start from; pass --ckpt or --pretrained."
        reason = "--recipe" if typed else "named in the --config file"
        return RecipeChoice(name, reason, warning if name in _FOR_WEIGHTS and not weights else "")
    if weights and frozen:
        return RecipeChoice(FROZEN_RECIPE, f"a frozen backbone; {_ANOTHER}")
    if demo:
        return RecipeChoice(DEMO_RECIPE, f"the demo images; {_ANOTHER}")
    if weights:
        return RecipeChoice(FINETUNE_RECIPE, f"weights to start from; {_ANOTHER}")
    return RecipeChoice(SCRATCH_RECIPE, f"random weights; {_ANOTHER}")


@cache
def read_recipe(name: str, variant: str) -> Mapping[str, Any]:
    """The values of a recipe for this variant.

    Raises:
        FastViTError: no such recipe or variant, or a recipe without values for the variant.
    """
    from fastvit_cli.yaml_files import read_yaml

    if name not in RECIPES:
        raise FastViTError(
            f"There is no recipe '{name}'.", f"{closest(name, RECIPES)}Pass one of: {', '.join(RECIPES)}."
        )
    file = resources.files("fastvit_cli.training") / "recipes" / f"{name}.yaml"
    values: dict[str, Any] = read_yaml(file.read_bytes(), f"recipe {name}")
    return values | (_published(name, get_variant(variant)) if name in _PUBLISHED else {})


def _published(name: str, row: Variant) -> dict[str, Any]:
    """What differs by variant in a published recipe."""
    if row.projects:
        raise FastViTError(
            f"Recipe {name} has nothing for variant {row.name}, which was not trained on ImageNet's labels.",
            "Pass another --recipe, or a --variant from t8 to ma36.",
        )
    drop_path, mixup = (
        (row.drop_path_distilled, row.mixup_distilled) if name == _DISTILLED else (row.drop_path, row.mixup)
    )
    return {"crop_pct": row.crop_pct, "drop_path": drop_path, "mixup": mixup}
