"""How recipe, YAML file and command line make one configuration of a training run, and how it is written again."""

import contextlib
import typing
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from fastvit_cli.errors import FastViTError, closest, excerpt
from fastvit_cli.options import AUTO_NUMBER, AUTO_WORD, option_spec
from fastvit_cli.training.recipe_files import read_recipe
from fastvit_cli.training.train_options import TrainConfig

_LONGEST_WORD, _LONGEST_PLACE = 80, 1000  # so long a value is shown whole where it is refused
_PLACES = frozenset(("data", "ckpt", "class_map", "teacher", "output", "config", "resume"))
# Where a run is and what it continues is no part of its recipe.
_NOT_SAVED = frozenset(("config", "resume", "output", "check_data", "dry_run", "nproc_per_node", "trust"))
_TYPED_ONLY = "trust"  # else a file from elsewhere could name another that runs code


def resolve_config(wanted: Mapping[str, Any], recipe: str | None) -> TrainConfig:
    """One configuration of what was wanted (command line over `--config` file), over the recipe, over the defaults.

    Args:
        recipe: the one to apply; None applies none, not even one that `wanted` names.

    Raises:
        FastViTError: a value out of range, no such recipe, or one without values for the variant.
    """
    if recipe is None:
        return TrainConfig(**wanted)
    values = {**recipe_values(recipe, wanted.get("variant", TrainConfig.variant)), **wanted, "recipe": recipe}
    if "batch_size" not in wanted:
        values["batch_size"] = _batch_size_that_fits(values)
    return TrainConfig(**values)


def _batch_size_that_fits(values: Mapping[str, Any]) -> int:
    """The recipe's batch size, or what is left of the images an update for each of many processes."""
    batch_size: int = values.get("batch_size", TrainConfig.batch_size)
    total, processes = values.get("total_batch_size"), values.get("world_size", 1)
    if total is None or batch_size * processes <= total or total % processes:
        return batch_size
    return int(total // processes)


def option_sources(*layers: tuple[str, Collection[str]]) -> dict[str, str]:
    """Where each option of a run has its value from: the first layer, by its name, that sets it, else `default`."""
    return {
        item.name: next((source for source, names in layers if item.name in names), "default")
        for item in fields(TrainConfig)
    }


def recipe_values(name: str, variant: str) -> dict[str, Any]:
    """The options that a recipe of the package sets for a variant.

    Raises:
        FastViTError: no such recipe or variant, or a recipe without values for the variant.
    """
    return _checked_values(read_recipe(name, variant), f"recipe {name}")


def read_config_file(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        FastViTError: no such file, not YAML, or a name that is no option.
    """
    from fastvit_cli.yaml_files import read_yaml_file

    try:
        content = read_yaml_file(path)
    except OSError as error:
        raise FastViTError(f"Cannot read '{path}' ({error.strerror}).", "Pass --config with a YAML file.") from error
    return _checked_values(content, f"'{path}'")


def _checked_values(content: Any, where: str) -> dict[str, Any]:
    types = {field.name: field.type for field in fields(TrainConfig)}
    autos = {field.name for field in fields(TrainConfig) if (spec := option_spec(field.metadata)) and spec.auto}
    if not isinstance(content, dict):
        raise FastViTError(f"{where} holds no `name: value` lines.", "Pass a run's config.yaml.")
    values = {}
    for raw_name, value in content.items():
        name = str(raw_name).replace("-", "_")
        if name not in types:
            raise FastViTError(
                f"{where} sets '{excerpt(raw_name)}', which is no option.",
                f"{closest(name[:80], types)}See 'fastvit train --help'.",
            )
        if name == _TYPED_ONLY:
            raise FastViTError(f"{where} sets '{raw_name}', which no file may.", f"Take it out, and type --{name}.")
        value = AUTO_NUMBER if value == AUTO_WORD and name in autos else value
        values[name] = _checked_type(name, value, types[name], where)
    return values


def _checked_type(name: str, value: Any, hint: Any, where: str) -> Any:
    allowed = typing.get_args(hint) or (hint,)
    if float in allowed and type(value) in (int, str) and type(value) not in allowed:
        with contextlib.suppress(ValueError, OverflowError):  # YAML takes 5e-4, without a point, for text
            return float(value)
    if type(value) not in allowed:
        names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
        raise FastViTError(f"{where} sets '{name}' to {excerpt(repr(value))}.", f"It takes a value of type {names}.")
    if isinstance(value, str) and len(value) > (_LONGEST_PLACE if name in _PLACES else _LONGEST_WORD):
        raise FastViTError(
            f"{where} sets '{name}' to {len(value)} letters, {excerpt(repr(value))}.", "See 'fastvit train --help'."
        )
    return value


def config_to_yaml(config: TrainConfig) -> str:
    """What `config.yaml` of a run folder holds; `--config` reads it again."""
    import yaml

    return yaml.safe_dump(recipe_of(config), sort_keys=False)


def recipe_of(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain values, without what belongs to one run only."""
    return {name: value for name, value in asdict(config).items() if name not in _NOT_SAVED}
