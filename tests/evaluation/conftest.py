"""A data set of five classes, and a model for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.evaluation_models import Colours
from helpers.loaded import CLASS_NAMES

from fastvit_cli.data.demo_drawing import draw_image
from fastvit_cli.data.sources import DataChoice

SHAPES = ("circle", "cross", "star", "heart", "ring")


@pytest.fixture(scope="session")
def five_classes(tmp_path_factory: pytest.TempPathFactory) -> DataChoice:
    """Six validation images of each class of `helpers.loaded`. Do not change it."""
    root = tmp_path_factory.mktemp("five")
    for name, shape in zip(CLASS_NAMES, SHAPES, strict=True):
        folder = root / "val" / name
        folder.mkdir(parents=True)
        for index in range(6):
            draw_image("val", shape, index).save(folder / f"{index}.jpg", quality=90)
    return DataChoice(str(root), Path(root), "--data")


@pytest.fixture
def colours() -> Colours:
    return Colours()
