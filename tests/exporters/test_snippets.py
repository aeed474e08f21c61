"""The code beside an export runs, and gives what the check proved."""

from __future__ import annotations

import ast
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.exports import CPU, IMAGE_INPUT, Exports
from helpers.loaded import tiny_model
from PIL import Image

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.export import write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.snippets import snippet
from fastvit_cli.runtimes.open import open_runtime


def _photo(path: Path) -> Image.Image:
    values = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
    photo = Image.fromarray(values).resize((130, 101), Image.Resampling.BICUBIC)
    photo.save(path)  # photo.jpg is what the snippets open
    return Image.open(path)


@pytest.mark.parametrize(
    ("format_", "options"), [("onnx", {}), ("onnx", IMAGE_INPUT), ("pt2", {}), ("torchscript", {}), ("openvino", {})]
)
def test_the_python_snippet_gives_the_same_logits(
    model: LoadedModel,
    exported: Exports,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
    options: dict[str, Any],
) -> None:
    from fastvit_cli.data.picture import Picture
    from fastvit_cli.data.transforms import evaluation_transform

    result = exported(format_, **options)
    shutil.copytree(Path(result.output).parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    photo = np.asarray(_photo(tmp_path / "photo.jpg"))
    names: dict[str, Any] = {}
    exec(Path(result.snippet_file).read_text(), names)  # our own text
    image = torch.from_numpy(evaluation_transform(model.info.preprocessing, "pil")(Picture.of(photo))).permute(
        2, 0, 1
    )[None]
    expected = open_runtime(Path(result.output), CPU, trust=True).logits(image)
    torch.testing.assert_close(torch.from_numpy(names["output"]), expected, rtol=0, atol=1e-3)


def test_the_python_snippet_sees_the_pixels_that_were_evaluated(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 160 px and a crop of .9 nothing is even: 177.8 px are 177, and the other side is cut to whole pixels too."""
    from fastvit_cli.data.picture import Picture
    from fastvit_cli.data.transforms import evaluation_transform

    preprocessing = replace(model.info.preprocessing, img_size=160, crop_pct=0.9)
    info = replace(model.info, preprocessing=preprocessing)
    text = snippet(Path("a.onnx"), info, ExportConfig(format="onnx", image_input=True))
    monkeypatch.chdir(tmp_path)
    photo = np.asarray(_photo(tmp_path / "photo.jpg"))
    names: dict[str, Any] = {}
    exec(text[: text.index("session = ")], names)
    expected = evaluation_transform(preprocessing, "pil")(Picture.of(photo))
    assert np.array_equal(names["images"][0], expected)
    for format_, options in (("coreml", {}), ("coreml", {"tensor_input": True})):
        text = snippet(Path("a"), info, ExportConfig(format=format_, **options))
        assert "177" in text, text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["VNCoreMLModel(for: a_b(", "VNClassificationObservation"]),
        ({"logits": True}, ["VNCoreMLFeatureValueObservation", "one logit for each class"]),
        ({"tensor_input": True, "batch_size": 4, "logits": True}, ["float32 (4, 3, 64, 64)", "[0.5, 0.4, 0.3]"]),
    ],
)
def test_the_swift_snippet_names_what_was_exported(
    model: LoadedModel, options: dict[str, Any], words: list[str]
) -> None:
    text = snippet(Path("a-b.mlpackage"), model.info, ExportConfig(format="coreml", **options))
    assert all(word in text for word in words), text
    assert "$" not in text


@pytest.mark.parametrize("name", ['a"b', "a'b", "a$x", "a$$", "a\\n", "${file}"])
def test_snippets_carry_any_name(model: LoadedModel, name: str) -> None:
    for format_ in ("onnx", "pt2", "torchscript", "openvino"):
        text = snippet(Path(f"{name}.xyz"), model.info, ExportConfig(format=format_))
        texts = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        assert f"{name}.xyz" in texts
    text = snippet(Path(f"{name}.xyz"), model.info, ExportConfig(format="coreml"))
    assert f"// {name}.xyz is dragged" in text


def test_a_file_in_the_place_of_the_snippet_is_kept_unless_forced(tmp_path: Path) -> None:
    config = ExportConfig(format="pt2", output=str(tmp_path / "mine.pt2"))
    mine = tmp_path / "mine.pt2.py"
    mine.write_text("precious")
    with pytest.raises(FastViTError, match=r"mine\.pt2\.py' exists"):
        write_export(config, tiny_model())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt2.py"]
    assert write_export(replace(config, force=True), tiny_model()).snippet_file == str(mine)
    assert "torch.export.load" in mine.read_text()
