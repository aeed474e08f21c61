"""What `--json` prints, key by key. A key that goes or changes its name breaks the programs that read it.

To add one, add its line below. To take one away or rename it, raise `SCHEMA_VERSION` and say so in the changelog.
"""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.program import run

from fastvit_cli.ui.session import SCHEMA_VERSION

RESULTS = {
    "train": "training.train.TrainResult",
    "train --dry-run": "training.dry_run.DryRun",
    "check, and --check-data": "data.check.DataCheck",
    "validate": "evaluation.validate.ValidateResult",
    "validate, several models": "evaluation.bulk.BulkResult",
    "predict": "evaluation.predict.PredictResult",
    "reparam": "exporters.reparam.ReparamResult",
    "export": "exporters.export.ExportResult",
    "export --list": "exporters.format_list.FormatList",
    "bench": "bench.events.BenchResult",
}
CONTRACT = Path(__file__).with_name("json_contract.txt")


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a result type; `[]` stands for the items of a list."""
    for item in fields(kind):
        name = f"{prefix}{item.name}"
        hint = typing.get_type_hints(kind)[item.name]
        inner, listed = _inside(hint)
        if inner is None:
            yield f"{name}{'[]' if listed else ''}"
        else:
            yield from _keys(inner, f"{name}{'[].' if listed else '.'}")


def _inside(hint: Any) -> tuple[Any | None, bool]:
    """The dataclass in a type, if there is one, and whether the type is a list of it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        found = [_inside(arg) for arg in args if arg is not type(None)]
        return max(found, key=lambda pair: pair[0] is not None)
    if origin is tuple:
        return _inside(args[0])[0], True
    return (hint, False) if is_dataclass(hint) else (None, False)


def _contract() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in CONTRACT.read_text().splitlines():
        if line.startswith("# "):
            section = sections.setdefault(line[2:], [])
        elif line:
            section.append(line)
    return sections


@pytest.mark.parametrize("command", RESULTS)
def test_the_keys_of_every_command(command: str) -> None:
    module, _, name = RESULTS[command].rpartition(".")
    kind = getattr(importlib.import_module(f"fastvit_cli.{module}"), name)
    assert sorted(_keys(kind)) == sorted(_contract()[command])


def test_a_real_document_is_what_the_types_say(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "export", "--list", "--json")
    assert set(outcome.document) == {"schema", "command", "environment", "result"}
    assert (outcome.document["schema"], SCHEMA_VERSION) == (1, 1)
    assert {f"formats[].{key}" for key in outcome.result["formats"][0]} == {
        key.removesuffix("[]") for key in _contract()["export --list"]
    }
    failed = run(capsys, "export", "--format", "onx", "--json")
    assert set(failed.document) == {"schema", "command", "error"}
    assert set(failed.error) == {"message", "hint"}
