"""A tiny network, and exports of it that tests share."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import pytest
from helpers.exports import Exports, exported_to
from helpers.loaded import tiny_model, with_paths

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.exporters.export import ExportResult
from fastvit_cli.formats import FORMATS


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    return with_paths(tiny_model())


@pytest.fixture(scope="session")
def exported(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Exports in folders of their own, made once and shared. Do not change them."""

    @functools.cache
    def make(format_: str, **options: Any) -> ExportResult:
        if not all(importlib.util.find_spec(name) for name in FORMATS[format_].needs):
            pytest.skip(f"{format_} is an extra that is not installed")
        return exported_to(model, tmp_path_factory.mktemp(format_), format_, **options)

    return make
