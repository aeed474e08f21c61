"""The table of formats: what its rows name is there, and naming it loads nothing."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

from fastvit_cli.formats import ENGINES, FORMATS, engines_taking


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_names_an_exporter_and_a_runtime(name: str) -> None:
    row = FORMATS[name]
    exporter = importlib.import_module(row.exporter)
    assert callable(exporter.write)
    assert callable(exporter.inspect)
    assert name == "coreml" or len(exporter.SNIPPET) == 2
    assert callable(pkgutil.resolve_name(row.runtime).logits)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_can_be_timed(name: str) -> None:
    engine = ENGINES[name]
    assert engine.name == name
    assert callable(importlib.import_module(engine.module).bind)
    assert engine.takes is None or name in engines_taking(FORMATS[engine.takes].suffix)


def test_the_table_loads_nothing() -> None:
    heavy = ("torch", "numpy", *(engine.library for engine in ENGINES.values() if engine.library))
    code = f"import sys, fastvit_cli.formats; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
