"""The options of bench: what they refuse, and that the tables beside them agree."""

import subprocess
import sys
from dataclasses import fields
from typing import Any, get_args

import pytest

from fastvit_cli.bench.config import ENGINES, FORMS, BenchConfig
from fastvit_cli.errors import FastViTError
from fastvit_cli.options import option_spec


def test_defaults_are_what_bare_bench_means() -> None:
    config = BenchConfig()
    assert (config.variant, config.ckpt, config.engine) == ((), (), ("torch",))
    assert (config.batch_size, config.img_size, config.fuse) == (1, None, "all")


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"variant": ("t8", "sa42")}, "'sa42'", "sa24"),
        ({"pretrained": "apple_in1k"}, "--pretrained", "--variant"),
        ({"engine": ("torhc",)}, "'torhc'", "Did you mean 'torch'"),
        ({"engine": ()}, "engine", "torch"),
        ({"fuse": "branch"}, "'branch'", "branches"),
        ({"batch_size": 0}, "--batch-size is 0", "1 or more"),
        ({"iterations": -3}, "--iterations is -3", "1 or more"),
        ({"min_seconds": -0.1}, "--min-seconds", "0 to 3600"),
        ({"min_seconds": float("nan")}, "--min-seconds", "0 to 3600"),
        ({"min_seconds": float("inf")}, "--min-seconds", "3600"),
        ({"img_size": 31}, "--img-size is 31", "32"),
    ],
)
def test_wrong_values_say_what_and_what_instead(wrong: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(FastViTError) as caught:
        BenchConfig(**wrong)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_field_is_an_option_with_help() -> None:
    specs = {item.name: option_spec(item.metadata) for item in fields(BenchConfig)}
    assert all(spec is not None and spec.help.endswith(".") for spec in specs.values())


def test_choices_agree_with_what_runs_them() -> None:
    from fastvit_cli.bench import run
    from fastvit_cli.models.network import Form

    assert tuple(run._STEPS) == ENGINES
    assert tuple(run._FUSE) == FORMS == get_args(Form)


def test_importing_the_config_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "typer", "rich")
    code = f"import sys, fastvit_cli.bench.config; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
