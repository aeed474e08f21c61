"""Export to ONNX: real files, checked by ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.exports import save_changed
from helpers.loaded import CLASS_NAMES, PLACE, SIZE, loaded_model, pixels, saved_model, with_paths

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.data.loader import RealImages
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.exporters import onnx as onnx_exporter
from fastvit_cli.exporters.check import AccuracyChange, check_export
from fastvit_cli.exporters.export import ExportResult, write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Step
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.open import open_runtime
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

pytestmark = pytest.mark.quick

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return with_paths(saved_model(tmp_path_factory.mktemp("onnx") / "best.safetensors"))


@pytest.fixture(scope="module")
def exported(model: LoadedModel) -> ExportResult:
    return write_export(ExportConfig(format="onnx"), model, RealImages(pixels(3)))


def test_result(model: LoadedModel, exported: ExportResult) -> None:
    output = Path(exported.output)
    assert model.path is not None
    assert output == model.path.with_name("best.onnx")
    assert sorted(path.name for path in output.parent.iterdir()) == ["best.onnx", "best.onnx.py", "best.safetensors"]
    assert exported.size_bytes == output.stat().st_size
    assert (exported.variant, exported.img_size, exported.num_classes) == ("t8", SIZE, 5)
    assert (exported.format, exported.precision, exported.headless) == ("onnx", "fp32", False)


def test_check_measured_real_differences(exported: ExportResult) -> None:
    check = exported.check
    assert check.passed
    assert check.problems == ()
    assert check.num_images == 11
    assert check.top1_agreement == 1.0
    assert check.max_abs_error is not None
    assert check.tolerance is not None
    assert 0 < check.max_abs_error < check.tolerance / 5
    assert check.method == "onnxruntime on 8 random and 3 real images"


def test_accuracy_before_and_after_on_labelled_images(
    model: LoadedModel, exported: ExportResult, tmp_path: Path
) -> None:
    """Of a file whose classifier was turned round by one class, against the network it was made from."""
    reference = TorchRuntime(model.network, model.info, CPU)
    images = pixels(20)
    right = reference.logits(images).argmax(1)
    labels = right.clone()
    labels[:5] = (labels[:5] + 1) % model.info.num_classes
    check = check_export(Path(exported.output), reference, RealImages(images, labels), "fp32", ())
    assert check.accuracy == AccuracyChange(before=75.0, after=75.0, num_images=20)
    turned = onnx.load(exported.output)
    for tensor in turned.graph.initializer:
        if tensor.name in ("head.fc.weight", "head.fc.bias"):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(tensor), 1, 0), tensor.name)
            )
    save_changed(turned, tmp_path / "turned.onnx")
    check = check_export(tmp_path / "turned.onnx", reference, RealImages(images, labels), "fp32", ())
    assert check.accuracy == AccuracyChange(before=75.0, after=25.0, num_images=20)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size(model: LoadedModel, exported: ExportResult, batch: int) -> None:
    images = pixels(batch)
    expected = TorchRuntime(model.network, model.info, CPU).logits(images)
    found = open_runtime(Path(exported.output), CPU).logits(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_normalised_images_give_the_same(exported: ExportResult) -> None:
    runtime = open_runtime(Path(exported.output), CPU)
    images = pixels(2)
    torch.testing.assert_close(runtime.logits(normalize(images, runtime.info)), runtime.logits(images))


def test_metadata_travels_and_paths_do_not(model: LoadedModel, exported: ExportResult) -> None:
    runtime = open_runtime(Path(exported.output), CPU)
    assert runtime.engine == "onnxruntime"
    info = runtime.info
    assert (info.variant, info.form, info.class_names) == ("t8", "all", CLASS_NAMES)
    assert (info.preprocessing, info.top1, info.data) == (model.info.preprocessing, 61.5, None)
    assert info.recipe == {"lr": 1e-3, "mixup": [0.2, 1.0]}
    content = Path(exported.output).read_bytes()
    assert PLACE.encode() not in content
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_attention_headless_another_size_over_an_old_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = loaded_model("sa12")
    output = tmp_path / "embedding.onnx"
    output.write_text("old")
    steps: list[Step] = []
    config = ExportConfig(output=str(output), headless=True, img_size=96, force=True)
    result = write_export(config, model, None, steps.append)
    assert capfd.readouterr() == ("", ""), "the libraries' own messages stay away"
    assert result.check.passed
    assert result.check.top1_agreement is None
    assert (result.headless, result.num_classes, result.img_size) == (True, 0, 96)
    assert [step.title for step in steps if step.total is None] == [
        "Fusing",
        "Converting to ONNX",
        "Checking embedding.onnx",
    ]
    assert [(step.done, step.total) for step in steps[3:]] == [(1, 8), (8, 8)]

    runtime = open_runtime(output, CPU)
    images = pixels(2, size=96)
    embedding = runtime.logits(images)
    assert embedding.shape == (2, 1024)
    logits = model.network.head.fc(embedding)
    expected = TorchRuntime(model.network, model.info, CPU).logits(images)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    assert onnx.load(output).graph.output[0].name == "embedding"
    assert runtime.info.top1 is None, "it was measured at another size"
    assert model.network.num_classes == 5, "the caller's network is left alone"
    with pytest.raises(FastViTError, match="3x96x96, not 3x64x64"):
        runtime.logits(pixels(1))


def test_broken_weights_fail_the_check(model: LoadedModel, exported: ExportResult, tmp_path: Path) -> None:
    broken = onnx.load(exported.output)
    weights = {tensor.name: tensor for tensor in broken.graph.initializer}
    name = next(name for name in weights if "stages.1.blocks.1.mlp.fc1.weight" in name)
    array = onnx.numpy_helper.to_array(weights[name]).copy()
    array[0] *= 1.5  # one channel of one convolution
    weights[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    path = tmp_path / "broken.onnx"
    save_changed(broken, path)
    check = check_export(path, TorchRuntime(model.network, model.info, CPU), None, "fp32", ())
    assert not check.passed
    assert check.max_abs_error is not None
    assert check.tolerance is not None
    assert check.max_abs_error > check.tolerance
    assert "logits differ by" in check.problems[0]


def test_nan_fails_the_check(model: LoadedModel, exported: ExportResult, tmp_path: Path) -> None:
    broken = onnx.load(exported.output)
    bias = next(tensor for tensor in broken.graph.initializer if "head.fc.bias" in tensor.name)
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * float("nan"), bias.name))
    save_changed(broken, tmp_path / "nan.onnx")
    check = check_export(tmp_path / "nan.onnx", TorchRuntime(model.network, model.info, CPU), None, "fp32", ())
    assert (check.passed, check.max_abs_error) == (False, None)
    assert "not numbers" in check.problems[0]


def test_interface_is_inspected(model: LoadedModel, exported: ExportResult, tmp_path: Path) -> None:
    written = onnx.load(exported.output)
    info = ModelInfo.from_json(next(item.value for item in written.metadata_props if item.key == METADATA_KEY))
    assert onnx_exporter.inspect(Path(exported.output), info, model.network, ExportConfig()) == ()

    written.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    save_changed(written, tmp_path / "fixed.onnx")
    (problem,) = onnx_exporter.inspect(tmp_path / "fixed.onnx", info, model.network, ExportConfig())
    assert problem.startswith("the input is [('images', [2, 3, 64, 64])]")

    del written.graph.node[3]
    save_changed(written, tmp_path / "torn.onnx")
    problems = onnx_exporter.inspect(tmp_path / "torn.onnx", info, model.network, ExportConfig())
    assert any("onnx.checker" in problem for problem in problems)
    (problem,) = onnx_exporter.inspect(Path(exported.output), replace(info, epoch=9), model.network, ExportConfig())
    assert problem == "the metadata is not what was written"


def test_existing_output_is_kept(model: LoadedModel, tmp_path: Path) -> None:
    output = tmp_path / "mine.onnx"
    output.write_text("precious")
    with pytest.raises(FastViTError) as error:
        write_export(ExportConfig(output=str(output)), model)
    assert "--force" in error.value.hint
    assert output.read_text() == "precious"


def test_failed_conversion_leaves_the_old_file(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    output = tmp_path / "old.onnx"
    output.write_text("old")
    with pytest.raises(WorkFailedError, match="could not export"):
        write_export(ExportConfig(output=str(output), force=True), model)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.onnx", "old")]


@pytest.mark.parametrize("format_", ["onnx", "coreml"])
def test_unwritable_output(model: LoadedModel, tmp_path: Path, format_: str) -> None:
    (tmp_path / "file").write_text("")
    suffix = ".onnx" if format_ == "onnx" else ".mlpackage"
    with pytest.raises(FastViTError, match="Cannot write to"):
        write_export(ExportConfig(format=format_, output=str(tmp_path / "file" / f"a{suffix}")), model)
