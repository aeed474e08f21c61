"""The options of bench: what they refuse, and that the tables beside them agree."""

import subprocess
import sys
from dataclasses import fields
from typing import Any, get_args

import pytest

from fastvit_cli.bench.bench_options import DTYPES, FORMS, BenchConfig
from fastvit_cli.errors import FastViTError
from fastvit_cli.options import option_spec


def test_defaults_are_what_bare_bench_means() -> None:
    config = BenchConfig()
    assert (config.variants, config.ckpt, config.engine, config.dtype) == ((), (), ("torch",), ("float32",))
    assert (config.batch_sizes, config.img_sizes, config.forms) == ((1,), (None,), ("all",))


def test_training_is_of_the_unfused_network() -> None:
    assert BenchConfig(train=True).forms == ("unfused",)


def test_sweeps_and_all_variants_are_written_out() -> None:
    config = BenchConfig(variant=("sa12", "all", "fastvit_t8"), batch_size="8,1,8", img_size="192, 256")
    assert config.variants == ("sa12", "t8", "t12", "s12", "sa24", "sa36", "ma36")
    assert config.batch_sizes == (8, 1)
    assert config.img_sizes == (192, 256)


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"variant": ("t8", "sa42")}, "'sa42'", "sa24"),
        ({"pretrained": "apple_in1k"}, "--pretrained", "--variant"),
        ({"engine": ("torhc",)}, "'torhc'", "Did you mean 'torch'"),
        ({"engine": ()}, "engine", "--engine"),
        ({"dtype": ("int8",)}, "'int8'", "bfloat16"),
        ({"fuse": ("branch",)}, "'branch'", "branches"),
        ({"peer": ("apple",)}, "'apple'", "timm"),
        ({"batch_size": "0"}, "--batch-size is 0", "1 or more"),
        ({"batch_size": "1,,8"}, "--batch-size does not take '1,,8'", "whole number"),
        ({"batch_size": "many"}, "'many'", "--batch-size"),
        ({"img_size": "31"}, "--img-size is 31", "32"),
        ({"img_size": "256,20"}, "--img-size is 20", "32"),
        ({"iterations": -3}, "--iterations is -3", "1 or more"),
        ({"iterations": 0}, "--iterations is 0", "1 or more"),
        ({"threads": 0}, "--threads is 0", "1 to 1024"),
        ({"min_seconds": -0.1}, "--min-seconds", "0 to 3600"),
        ({"min_seconds": float("nan")}, "--min-seconds", "0 to 3600"),
        ({"min_seconds": float("inf")}, "--min-seconds", "3600"),
        ({"tolerance": -1.0}, "--tolerance", "0 to 1000"),
        ({"train": True, "engine": ("torch", "onnxruntime")}, "--train", "--engine torch"),
        ({"train": True, "fuse": ("all",)}, "does not train", "--fuse"),
        ({"train": True, "profile": True}, "--profile", "--train"),
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
    import torch

    from fastvit_cli.bench import jobs
    from fastvit_cli.models.network import Form

    assert tuple(jobs._FUSE) == FORMS == get_args(Form)
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)


def test_importing_the_config_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "typer", "rich")
    code = f"import sys, fastvit_cli.bench.bench_options; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
