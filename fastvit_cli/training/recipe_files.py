"""The recipes that come with the package: their names, which one is meant, and the files they stand in.

A recipe is `recipes/NAME.yaml`, or `recipes/NAME/VARIANT.yaml` where the variants differ.
"""

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.models.variants import VARIANTS, get_variant

DEMO_RECIPE, SCRATCH_RECIPE, FINETUNE_RECIPE = "demo", "scratch", "finetune"
RECIPES = (DEMO_RECIPE, SCRATCH_RECIPE, FINETUNE_RECIPE, "imagenet", "imagenet-distilled", "imagenet-384")
_FOR_WEIGHTS = frozenset((FINETUNE_RECIPE, "imagenet-384"))
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


def choose_recipe(typed: str | None, in_file: str | None, *, demo: bool, weights: bool) -> RecipeChoice:
    """Decide which recipe is meant.

    Args:
        typed, in_file: what `--recipe` names, and a `recipe:` line of the `--config` file.
        demo: whether the demo images are trained on.
        weights: whether the run starts from weights.
    """
    name = typed or in_file
    if name is not None:
        warning = f"Recipe {name} is meant for weights to start from; pass --ckpt or --pretrained."
        reason = "--recipe" if typed else "named in the --config file"
        return RecipeChoice(name, reason, warning if name in _FOR_WEIGHTS and not weights else "")
    if demo:
        return RecipeChoice(DEMO_RECIPE, f"the demo images; {_ANOTHER}")
    if weights:
        return RecipeChoice(FINETUNE_RECIPE, f"weights to start from; {_ANOTHER}")
    return RecipeChoice(SCRATCH_RECIPE, f"random weights; {_ANOTHER}")


def read_recipe(name: str, variant: str) -> Any:
    """The content of a recipe's file for this variant.

    Raises:
        FastViTError: no such recipe or variant, or a recipe without a file for the variant.
    """
    from fastvit_cli.yaml_files import read_yaml

    if name not in RECIPES:
        raise FastViTError(
            f"There is no recipe '{name}'.", f"{closest(name, RECIPES)}Pass one of: {', '.join(RECIPES)}."
        )
    return read_yaml(_file(name, get_variant(variant).name).read_bytes(), f"recipe {name}")


def _file(name: str, variant: str) -> Traversable:
    root = resources.files("fastvit_cli.training") / "recipes"
    folder = root / name
    if not folder.is_dir():
        return root / f"{name}.yaml"
    having = [key for key in VARIANTS if (folder / f"{key}.yaml").is_file()]
    if variant not in having:
        raise FastViTError(
            f"Recipe {name} has nothing for variant {variant}.",
            f"Pass another --recipe, or a --variant that it has: {', '.join(having)}.",
        )
    return folder / f"{variant}.yaml"
