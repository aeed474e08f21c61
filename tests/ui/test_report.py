"""The report as a browser would meet it: one page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from helpers.evaluation_models import Colours
from helpers.tiny_data import draw_tiny_data

from fastvit_cli.data.sources import DataChoice
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.config import ValidateConfig
from fastvit_cli.evaluation.validate import Validation, validate
from fastvit_cli.ui.report import prepare_folder, write_report
from fastvit_cli.ui.report_page import page

ADDRESSES = frozenset(("src", "href", "srcset", "data", "poster", "action", "xlink:href"))
VOID = frozenset(("meta", "img", "link", "br", "input", "hr"))
NAMES = ("ant", "<b>bee<∕b>", "cow & calf", "dog", "emu")  # a folder's name holds no plain slash


class Page(HTMLParser):
    """Addresses, pictures and text of a page; fails on tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.metas: dict[str, str] = {}
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.addresses += [value for name, value in given.items() if name in ADDRESSES]
        if tag == "meta" and "name" in given:
            self.metas[given["name"]] = given["content"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    root = draw_tiny_data(tmp_path_factory.mktemp("report"), train=0, val=5)
    for shape, name in zip(("circle", "cross", "star"), NAMES[:3], strict=True):
        (root / "val" / shape).rename(root / "val" / name)
    model = Colours()
    model.info = model.info.__class__(
        **{**vars(model.info), "class_names": tuple(n.replace("/", "∕") for n in NAMES)}
    )
    other = Colours(shift=6.0)
    other.info = model.info
    config = ValidateConfig(report="there", compare="other.onnx", workers=0)
    return validate(config, model, DataChoice("data", root, ""), "runs/<model>.safetensors", other=other)


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


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.metas["viewport"] == "width=device-width, initial-scale=1"
    assert parsed.addresses, "there are mistakes to show"
    for address in parsed.addresses:
        kind, encoded = address.split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(encoded).startswith(b"\xff\xd8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.split("<main>")[0]), "styles load nothing"
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "prefers-color-scheme: dark" in text
    assert "@media (max-width: 520px)" in text


def test_names_are_text_and_not_markup(folder: Path) -> None:
    parsed = Page((folder / "index.html").read_text(encoding="utf-8"))
    assert "<model>.safetensors" in parsed.text
    assert "<b>bee<∕b>" in parsed.text
    assert "cow & calf" in parsed.text


def test_what_the_page_says(folder: Path, found: Validation) -> None:
    text = Page((folder / "index.html").read_text(encoding="utf-8")).text
    result = found.result
    assert f"{result.top1:.2f} %" in text
    assert f"95 % interval {result.top1_low:.2f} – {result.top1_high:.2f}" in text
    assert "Compared with other.onnx (colours)" in text
    assert "All 5 classes" in text
    assert result.comparison is not None
    assert f"{result.comparison.top1_difference:+.2f} points" in text


def test_many_classes_get_a_picture_and_no_mistakes_a_word(found: Validation) -> None:
    report, result = found.report, found.result
    assert report is not None
    many = replace(result, classes=result.classes * 6, comparison=None)
    wide = replace(report, confusion=torch.eye(30, dtype=torch.int64), mistakes=())
    parsed = Page(page(many, wide, b"\x89PNG", {}))
    assert parsed.addresses == ["data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()]
    assert "every image was recognised" in parsed.text


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()  # macOS leaves one where a folder was looked at
    assert prepare_folder(tmp_path) == tmp_path
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FastViTError, match=r"other things than a report: photo\.jpg"):
        prepare_folder(tmp_path)
    with pytest.raises(FastViTError, match="Cannot write a report"):
        prepare_folder(tmp_path / "photo.jpg")
