"""The files of a report. What is on its page: test_pages.py."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.evaluation_models import Colours
from helpers.tiny_data import draw_tiny_data

from fastvit_cli.data.sources import DataChoice
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.results import Validation
from fastvit_cli.evaluation.validate import score
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.ui.report import prepare_folder, write_report


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    root = draw_tiny_data(tmp_path_factory.mktemp("report"), train=0, val=5)
    model = Colours()
    model.info = replace(model.info, class_names=("circle", "cross", "star", "tile", "wave"))
    config = ValidateConfig(report="there", workers=0)
    return score(config, model, DataChoice("data", root, ""), "best.safetensors")


@pytest.fixture(scope="module")
def folder(found: Validation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert found.report is not None
    folder = prepare_folder(tmp_path_factory.mktemp("written") / "a" / "report")
    envelope = {"schema": 1, "environment": {"torch": "2"}, "result": found.result}
    write_report(folder, found.result, found.report, envelope)
    return folder


def test_files(folder: Path, found: Validation) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "results.json", "predictions.csv", "confusion.png", "reliability.png"}
    assert json.loads((folder / "results.json").read_text())["result"]["num_images"] == 15
    rows = list(csv.DictReader((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 15
    assert sum(row["correct"] == "True" for row in rows) == pytest.approx(15 * found.result.top1 / 100)
    for name in ("confusion.png", "reliability.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert prepare_folder(folder) == folder, "a report may be written again"


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()  # macOS leaves one where a folder was looked at
    assert prepare_folder(tmp_path) == tmp_path
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FastViTError, match=r"other things than a report: photo\.jpg"):
        prepare_folder(tmp_path)
    with pytest.raises(FastViTError, match="Cannot write a report"):
        prepare_folder(tmp_path / "photo.jpg")
