"""The whole of a validation, on a model that takes no time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.evaluation_models import Colours
from helpers.loaded import loaded_model

from fastvit_cli.data.sources import DataChoice
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.evaluation.bulk import models_of
from fastvit_cli.evaluation.validate import Listeners, score
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.runtimes.torch_runtime import TorchRuntime


def _config(**options: object) -> ValidateConfig:
    return ValidateConfig(workers=0, batch_size=8, **options)  # type: ignore[arg-type]


def test_every_part_is_about_the_same_images(five_classes: DataChoice, colours: Colours, tmp_path: Path) -> None:
    found = score(_config(report=str(tmp_path)), colours, five_classes, "colours")
    result, report = found.result, found.report
    assert report is not None
    assert result.num_images == 30
    assert len(report.predictions) == 30
    hits = sum(row.correct for row in report.predictions)
    assert result.top1 == pytest.approx(100 * hits / 30)
    assert result.top1_low < result.top1 < result.top1_high
    assert sum(row.images for row in result.classes) == sum(row.images for row in result.reliability) == 30
    assert report.confusion is not None
    assert int(report.confusion.trace()) == hits
    assert [row.prediction for row in report.mistakes] == sorted(
        (row for row in report.predictions if not row.correct), key=lambda row: -row.confidence
    )[:24]
    assert all(mistake.jpeg.startswith(b"\xff\xd8") for mistake in report.mistakes)
    for row in report.predictions:
        assert Path(row.image).parent.name == row.label, "names belong to their labels"


def test_without_a_report_nothing_is_kept_by_image(five_classes: DataChoice, colours: Colours) -> None:
    assert score(_config(), colours, five_classes, "colours").report is None


def test_comparison_with_itself_and_another(five_classes: DataChoice, colours: Colours) -> None:
    same = score(_config(compare="same"), colours, five_classes, "colours", other=Colours()).result.comparison
    assert same is not None
    assert (same.num_flips, same.p_value, same.logits.max_abs_error) == (0, 1.0, 0.0)
    shifted = Colours(shift=9.0)
    other = score(_config(compare="it"), colours, five_classes, "colours", other=shifted).result.comparison
    assert other is not None
    assert other.num_flips == len(other.flips) > 0
    assert other.logits.top1_agreement == pytest.approx(1 - other.num_flips / 30)
    assert all(Path(flip.image).parent.name == flip.label for flip in other.flips)


def test_what_is_compared_runs_as_it_is_in_the_file(five_classes: DataChoice, colours: Colours) -> None:
    loaded = loaded_model("t8")
    network = TorchRuntime(loaded.network, loaded.info, torch.device("cpu"))
    result = score(_config(compare="exported"), network, five_classes, "x", other=colours).result
    assert (result.engine_reason, result.engine) == ("as it is in the file", "torch")
    explicit = score(_config(compare="exported", engine="torch"), network, five_classes, "x", other=colours).result
    assert explicit.comparison == result.comparison, "an engine for weights does not trouble an exported file"


def test_models_of_other_classes_are_not_compared(five_classes: DataChoice, colours: Colours) -> None:
    other = Colours()
    other.info = replace(other.info, class_names=("ant", "bee", "cow", "emu", "dog"))
    with pytest.raises(FastViTError, match="class 3 is 'dog' to one, 'emu' to the other"):
        score(_config(compare="other"), colours, five_classes, "x", other=other)
    other.info = replace(other.info, num_classes=4, class_names=None)
    with pytest.raises(FastViTError, match="5 classes, the one to compare 4"):
        score(_config(compare="other"), colours, five_classes, "x", other=other)


def test_a_model_without_a_classifier(five_classes: DataChoice, colours: Colours) -> None:
    colours.info = replace(colours.info, num_classes=0, class_names=None)
    with pytest.raises(FastViTError, match="is no classifier"):
        score(_config(), colours, five_classes, "x")


def test_a_subset_of_the_classes(five_classes: DataChoice, colours: Colours, tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("0\n1\n2\n3\n4\n")
    whole = score(_config(), colours, five_classes, "colours").result
    assert (
        score(_config(valid_labels=str(tmp_path / "all.txt")), colours, five_classes, "x").result.top1 == whole.top1
    )
    (tmp_path / "some.txt").write_text("ant\nbee\n")
    with pytest.raises(FastViTError, match="images of 'cow', which"):
        score(_config(valid_labels=str(tmp_path / "some.txt")), colours, five_classes, "x")
    two = tmp_path / "two" / "val"
    two.mkdir(parents=True)
    for name in ("cow", "dog"):
        (two / name).symlink_to(Path(five_classes.name) / "val" / name)
    (tmp_path / "some.txt").write_text("cow\ndog\n")
    data = DataChoice("two", tmp_path / "two", "--data")
    result = score(_config(valid_labels=str(tmp_path / "some.txt")), colours, data, "x").result
    assert [row.name for row in result.classes] == ["cow", "dog"]
    assert result.top5 == 100.0


class Small(Colours):
    """Has memory for so many images at once."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self.at_once = at_once

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.at_once:
            raise torch.OutOfMemoryError("CUDA out of memory") if len(images) % 4 else MemoryError
        return super().logits(images)


def test_out_of_memory_halves_the_batch(five_classes: DataChoice, colours: Colours) -> None:
    tried: list[int] = []
    whole = score(_config(), colours, five_classes, "colours").result
    result = score(_config(), Small(3), five_classes, "x", listeners=Listeners(smaller_batch=tried.append)).result
    assert tried == [4, 2]
    assert (result.top1, result.loss) == (whole.top1, pytest.approx(whole.loss))
    with pytest.raises(WorkFailedError, match="no memory for a single image"):
        score(_config(), Small(0), five_classes, "x")


def test_what_gives_no_numbers_is_not_scored(five_classes: DataChoice) -> None:
    with pytest.raises(WorkFailedError, match="'x' gives NaN or infinity for 30 of 30 images"):
        score(_config(), Colours(sharpness=float("inf")), five_classes, "x")


def test_models_of_a_folder_and_of_a_glob(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.onnx", "notes.txt", ".c.onnx", "run/best.safetensors", "run/state.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "p.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "p.mlpackage" / "Data" / "weight.bin").touch()

    def names_of(ckpt: str, trust: bool = False) -> list[str]:
        found = models_of(ckpt, trust)
        assert found is not None
        return [path.relative_to(tmp_path).as_posix() for path in found.to_score]

    names = names_of(str(tmp_path))
    assert names == ["a.safetensors", "b.onnx", "p.mlpackage", "run/best.safetensors"]
    for name in ("t.torchscript", "u.pt2", "v.xml", "v.bin", "w.bin", "labels.xml", "p.mlpackage.zip"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "x.safetensors")
    assert names_of(str(tmp_path)) == [*names, "v.xml", "w.bin"]
    assert names_of(str(tmp_path), trust=True) == [*names, "t.torchscript", "u.pt2", "v.xml", "w.bin"]
    assert names_of(f"{tmp_path}/*.onnx") == ["b.onnx"]
    assert names_of(f"{tmp_path}/r*") == ["run"]
    for single in ("a.safetensors", "run", "p.mlpackage"):
        assert models_of(str(tmp_path / single)) is None
    with pytest.raises(FastViTError, match=r"holds \.pt2 files alone \(1\), which can run code") as error:
        models_of(f"{tmp_path}/*.pt2")
    assert "--trust" in error.value.hint
    assert models_of(None) is models_of("latest") is models_of("hf-hub:timm/x") is None
    with pytest.raises(FastViTError, match="holds no model"):
        models_of(f"{tmp_path}/*.pth")
