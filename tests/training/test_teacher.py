"""Teachers: whatever they come from, they see the student's own batch and only ever answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.loaded import CLASS_NAMES, PREPROCESSING, loaded_model, pixels, saved_model
from helpers.tiny_data import class_folders
from safetensors.torch import load_file

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.data.sources import choose_data
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.training import train_step
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.teacher import Teacher, open_teacher
from fastvit_cli.training.train import run_training
from fastvit_cli.training.train_options import TrainConfig

CPU = torch.device("cpu")
STUDENT = ModelInfo("t8", "unfused", len(CLASS_NAMES), PREPROCESSING, class_names=CLASS_NAMES)


def _open(teacher: object, student: ModelInfo = STUDENT) -> Teacher:
    names = student.class_names or tuple(f"{index:04}" for index in range(student.num_classes))
    return open_teacher(TrainConfig(teacher=str(teacher)), student, class_folders(*names), CPU)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    saved_model(path)
    return path


def test_a_checkpoint_teaches_all_fused(file: Path) -> None:
    images = normalize(pixels(2), STUDENT)
    for named in (file, file.parent):
        answer = _open(named).logits(images)
        expected = loaded_model("t8").network.eval()(images)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-4)
        assert not answer.requires_grad


def test_an_exported_file_teaches(file: Path, tmp_path: Path) -> None:
    from fastvit_cli.exporters.export_options import ExportConfig
    from fastvit_cli.exporters.onnx import write

    path = tmp_path / "teacher.onnx"
    loaded = loaded_model("t8")
    write(loaded.network.eval(), loaded.info, path, ExportConfig(format="onnx"), None)
    images = normalize(pixels(2), STUDENT)
    torch.testing.assert_close(_open(path).logits(images), _open(file).logits(images), rtol=0, atol=1e-3)
    larger = replace(STUDENT, preprocessing=PREPROCESSING.at_size(96))
    with pytest.raises(FastViTError, match="takes images of 64 px only, and the student sees 96 px"):
        _open(path, larger)
    _open(file, larger)  # weights take any


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's models with random weights in place of published ones."""
    real = timm.create_model

    def create(name: str, pretrained: bool = False) -> torch.nn.Module:
        assert pretrained
        torch.manual_seed(0)
        return real(name)

    monkeypatch.setattr(timm, "create_model", create)


IMAGENET = ModelInfo("t8", "unfused", 1000, replace(default_preprocessing(get_variant("t8")), img_size=64))
HALF = (0.5, 0.5, 0.5)  # of timm's smallest models
LIKE_TIMM_S = replace(IMAGENET, preprocessing=replace(IMAGENET.preprocessing, mean=HALF, std=HALF))


@pytest.mark.usefixtures("no_download")
def test_a_timm_model_teaches() -> None:
    images = torch.randn(2, 3, 64, 64)
    answer = _open("test_resnet.r160_in1k", LIKE_TIMM_S).logits(images)
    torch.manual_seed(0)
    expected = timm.models.create_model("test_resnet").eval()(images)
    torch.testing.assert_close(answer, expected)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize(
    ("name", "student", "message"),
    [
        ("resnet19", IMAGENET, "neither a file nor a timm model"),
        ("runs/gone.safetensors", IMAGENET, "There is no file 'runs/gone.safetensors'"),
        ("test_resnet.r160_in1k", STUDENT, "knows 1000 classes, and the data has 5"),
        ("test_resnet.r160_in1k", IMAGENET, "sees images with mean 0.5 0.5 0.5 and std"),
        ("test_vit.r160_in1k", LIKE_TIMM_S, "takes images of 160 px only, and the student sees 64"),
    ],
)
def test_a_teacher_that_does_not_fit(name: str, student: ModelInfo, message: str) -> None:
    with pytest.raises(FastViTError) as caught:
        _open(name, student)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_file_of_other_classes_does_not_fit(file: Path) -> None:
    others = ("ant", "bee", "cow", "dog", "eel")
    with pytest.raises(FastViTError, match="other classes: 'eel' of the data is none of them"):
        _open(file, replace(STUDENT, class_names=others))


def test_a_teacher_answers_in_the_order_of_the_student(file: Path) -> None:
    student = replace(STUDENT, class_names=CLASS_NAMES[::-1])
    images = normalize(pixels(2), STUDENT)
    torch.testing.assert_close(_open(file, student).logits(images), _open(file).logits(images).flip(1))


def test_a_teacher_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(FastViTError, match="neither downloaded nor found") as caught:
        _open("regnety_160.deit_in1k", IMAGENET)
    assert "--teacher with a file" in caught.value.hint


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the tiny data's classes, with random weights and the demo's preprocessing."""
    path = tmp_path_factory.mktemp("taught") / "teacher.safetensors"
    torch.manual_seed(1)
    row = get_variant("t8")
    info = ModelInfo(
        "t8",
        "unfused",
        3,
        replace(default_preprocessing(row), img_size=32, crop_pct=1.0),
        class_names=("circle", "cross", "star"),
    )
    save_checkpoint(path, create_model("t8", num_classes=3), info)
    return path


def _train(data: Path, output: Path, **options: object) -> dict[str, Any]:
    values = {"img_size": 32, "batch_size": 4, "epochs": 1, "workers": 0, "mixup": 0.2, "random_erasing": 0.5}
    config = resolve_config({**values, "output": str(output), **options}, "demo")
    result = run_training(config, choose_data(str(data)))
    return load_file(result.last_ckpt)


def test_the_teacher_changes_what_is_learned(taught: Path, tiny_data: Path, tmp_path: Path) -> None:
    alone = _train(tiny_data, tmp_path / "alone")
    hard = _train(tiny_data, tmp_path / "hard", teacher=str(taught))
    assert any(not torch.equal(alone[key], hard[key]) for key in alone)
    for name, options in (("none", {"distillation_type": "none"}), ("weightless", {"distillation_alpha": 0.0})):
        same = _train(tiny_data, tmp_path / name, teacher=str(taught), **options)
        assert all(torch.equal(alone[key], same[key]) for key in alone), name


def test_the_teacher_sees_the_student_s_very_batch(
    taught: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[torch.Tensor]] = {"teacher": [], "student": []}
    ask = train_step.TrainStep._ask_teacher

    def spy(self: train_step.TrainStep, images: torch.Tensor) -> torch.Tensor:
        seen["teacher"].append(images.clone())
        return ask(self, images)

    def spy_on_student(self: object, arguments: tuple[torch.Tensor, ...]) -> None:
        if self.training:  # type: ignore[attr-defined]
            seen["student"].append(arguments[0].clone())

    monkeypatch.setattr(train_step.TrainStep, "_ask_teacher", spy)
    prepared = train_step.TrainStep.__init__

    def hooked(self: train_step.TrainStep, *arguments: Any, **options: Any) -> None:
        prepared(self, *arguments, **options)
        self.network.register_forward_pre_hook(spy_on_student)

    monkeypatch.setattr(train_step.TrainStep, "__init__", hooked)
    _train(tiny_data, tmp_path / "run", teacher=str(taught))
    assert len(seen["teacher"]) == len(seen["student"]) == 6
    assert all(torch.equal(*pair) for pair in zip(seen["teacher"], seen["student"], strict=True))
