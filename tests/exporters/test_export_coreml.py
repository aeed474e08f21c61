"""Export to Core ML: real packages, read back and emulated."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loaded import CLASS_NAMES, SIZE, loaded_model, pixels, saved_model, tiny_model

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data.loader import RealImages
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.exporters import coreml
from fastvit_cli.exporters.check import check_export
from fastvit_cli.exporters.export import ExportResult, write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.models.channels_first import channels_first
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.variants import get_variant
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.checksum import add_checksum
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
from fastvit_cli.runtimes.coreml_runtime import CoreMLRuntime
from fastvit_cli.runtimes.open import open_runtime
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

CPU = torch.device("cpu")
CONFIG = ExportConfig(format="coreml")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return saved_model(tmp_path_factory.mktemp("coreml") / "best.safetensors")


@pytest.fixture(scope="module")
def exported(model: LoadedModel) -> ExportResult:
    return write_export(ExportConfig(format="coreml"), model, RealImages(pixels(3)))


def test_result(model: LoadedModel, exported: ExportResult) -> None:
    output = Path(exported.output)
    assert model.path is not None
    assert output == model.path.with_name("best.mlpackage")
    names = ["best.mlpackage", "best.mlpackage.swift", "best.safetensors"]
    assert sorted(path.name for path in output.parent.iterdir()) == names
    assert (exported.precision, exported.class_names_inside) == ("fp16", True)
    files = [path.stat().st_size for path in output.rglob("*") if path.is_file()]
    assert exported.size_bytes == sum(files) > 2 * 3_000_000  # two bytes a parameter


def test_check_measured_real_differences(exported: ExportResult) -> None:
    check = exported.check
    assert check.passed
    assert check.num_images == 11
    assert check.top1_agreement is not None
    assert check.max_abs_error is not None
    assert check.tolerance is not None
    assert 1e-5 < check.max_abs_error < check.tolerance / 2, "float16, and yet close"
    assert "operations, all weights, emulated on 8 random and 3 real images (numbers, not speed)" in check.method


def test_interface(exported: ExportResult) -> None:
    package = CoreMLEvaluator(Path(exported.output))
    description = package.description
    (image,) = description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == ("image", SIZE, SIZE)
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    assert [output.name for output in description.output] == ["classLabel", "classLabel_probs"]
    assert (description.metadata.author, package.labels) == ("fastvit", CLASS_NAMES)
    assert package.info.class_names == CLASS_NAMES
    assert package.info.top1 is None, "it was measured in float32"


def test_inspection_sees_what_differs(model: LoadedModel, exported: ExportResult) -> None:
    path, info = Path(exported.output), CoreMLEvaluator(Path(exported.output)).info
    inspect = functools.partial(coreml.inspect, path, network=fuse_all(model.network), config=CONFIG)
    assert inspect(info) == ()
    renamed = replace(info, class_names=tuple(reversed(CLASS_NAMES)))
    assert inspect(renamed)[0] == "the class labels are not those of the model"
    larger = replace(info, preprocessing=info.preprocessing.at_size(96))
    assert "not an image of 96x96" in inspect(larger)[0]
    nameless = replace(info, class_names=None)
    assert inspect(nameless)[0] == "the outputs are classLabel, classLabel_probs, not logits"
    assert inspect(replace(info, epoch=7)) == ("the metadata is not what was written",)


def _operations(package: Any) -> Counter[str]:
    """Operations of a converted model or of a package by their type, constants left out."""
    spec = package.get_spec() if hasattr(package, "get_spec") else package
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return Counter(operation.type for operation in block.operations if operation.type != "const")


def test_attention_as_tensors_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import coremltools

    model = loaded_model("sa12")
    output = tmp_path / "a.mlpackage"
    options = {"tensor_input": True, "logits": True, "batch_size": 3, "zip": True, "debug_drift": True}
    result = write_export(ExportConfig(format="coreml", output=str(output), **options), model, RealImages(pixels(1)))
    assert result.check.passed
    assert result.drift is not None
    assert result.drift.startswith("none of 83 layers differs")
    package = open_runtime(output, CPU)
    assert isinstance(package, CoreMLEvaluator)
    (given,) = package.description.input
    assert (given.name, list(given.type.multiArrayType.shape)) == ("images", [3, 3, SIZE, SIZE])
    assert "(x / 255 - mean) / std with mean (0.5, 0.4, 0.3)" in given.shortDescription
    assert [output.name for output in package.description.output] == ["logits"]
    assert package.info.class_names == CLASS_NAMES, "the metadata keeps what the program does not say"
    expected = TorchRuntime(model.network, model.info, CPU).logits(pixels(4))
    torch.testing.assert_close(package.logits(pixels(4)), expected, rtol=0, atol=2e-3)

    def predict(_: Any, data: dict[str, Any]) -> dict[str, Any]:
        assert data["images"].shape == (3, 3, SIZE, SIZE)
        return {"logits": package.logits(torch.from_numpy(data["images"])).numpy()}

    monkeypatch.setattr("coremltools.models.MLModel.predict", predict)
    torch.testing.assert_close(CoreMLRuntime(package).logits(pixels(4)), package.logits(pixels(4)))

    operations = _operations(coremltools.models.MLModel(str(output), skip_model_load=True))
    assert (operations["batch_norm"], operations["transpose"]) == (0, 0)
    assert operations["mul"] == 1, "squeeze-and-excite; neither a layer scale nor the scale of attention"

    assert result.zip == str(tmp_path / "a.mlpackage.zip")
    shutil.unpack_archive(result.zip, tmp_path / "unpacked")
    assert _contents(tmp_path / "unpacked" / "a.mlpackage") == _contents(output)


def test_ma36_is_smaller_than_apples_own() -> None:
    """Apple's published classifier takes 369 operations. The count depends on depths and blocks, not on widths."""
    variant = replace(get_variant("ma36"), widths=(32, 32, 32, 32), mlp_ratio=1)
    network = FastViT(variant, num_classes=5).eval()
    model = coreml.convert(channels_first(fuse_all(network)), loaded_model("sa12").info, CONFIG)
    operations = _operations(model)
    assert operations["batch_norm"] == 0
    assert operations["mul"] == 2, "the normalisation and squeeze-and-excite"
    assert (operations["classify"], operations["softmax"], operations["matmul"]) == (1, 7, 12)
    assert operations.total() <= 300


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_headless_without_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = loaded_model("t8")
    result = write_export(ExportConfig(format="coreml", headless=True, precision="fp32"), model)
    assert (result.output, result.check.passed) == ("fastvit_t8.mlpackage", True)
    assert capfd.readouterr() == ("", ""), "the libraries' own messages stay away"
    package = CoreMLEvaluator(Path(result.output))
    assert [output.name for output in package.description.output] == ["embedding"]
    assert (package.labels, package.logits(pixels(2)).shape) == (None, (2, 768))


def test_normalised_images_are_brought_back_to_pixels(exported: ExportResult) -> None:
    package = CoreMLEvaluator(Path(exported.output))
    images = pixels(2)
    assert torch.equal(package.logits(normalize(images, package.info)), package.logits(images))


def test_broken_weights_are_seen(model: LoadedModel, exported: ExportResult, tmp_path: Path) -> None:
    package = tmp_path / "broken.mlpackage"
    shutil.copytree(exported.output, package)
    (weights,) = package.rglob("weight.bin")
    content = bytearray(weights.read_bytes())
    content[3_000_000:3_000_020] = bytes(20)  # ten weights among three million
    weights.write_bytes(content)
    add_checksum(package)  # as if it had been written so
    (problem,) = coreml.inspect(package, CoreMLEvaluator(package).info, fuse_all(model.network), CONFIG)
    assert problem.endswith("weight tensors differ from the network's")
    assert problem.startswith("1 of ")

    content[3_000_000:3_040_000] = b"\x00\x44" * 20_000  # 4.0 in float16
    weights.write_bytes(content)
    add_checksum(package)
    check = check_export(package, TorchRuntime(model.network, model.info, CPU), None, "fp16", ())
    assert not check.passed
    assert check.problems[0].startswith("logits differ by")


def test_overflow_of_float16_fails_the_check(tmp_path: Path) -> None:
    model = loaded_model("t8")
    with torch.no_grad():  # 1e6 fits into float32 and is divided away again two layers later
        model.network.stages[0].blocks[0].mlp.conv.bn.weight.mul_(1e6)
        model.network.stages[0].blocks[0].mlp.conv.bn.bias.mul_(1e6)
        model.network.stages[0].blocks[0].mlp.fc1.weight.mul_(1e-6)
    result = write_export(ExportConfig(format="coreml", output=str(tmp_path / "a.mlpackage")), model)
    assert not result.check.passed
    assert (tmp_path / "a.mlpackage").is_dir(), "the file stays for inspection"


def test_old_package_stays_until_the_new_one_is_complete(
    model: LoadedModel, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.mlpackage"
    output.mkdir()
    (output / "old").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(coreml, "convert", _fail)
        with pytest.raises(WorkFailedError, match="could not convert"):
            write_export(ExportConfig(format="coreml", output=str(output), force=True), model)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.mlpackage", "old"]

    def convert(*_: object, **__: object) -> Any:
        import coremltools

        return coremltools.models.MLModel(exported.output, skip_model_load=True)

    monkeypatch.setattr(coreml, "convert", convert)  # which takes seconds, and is tested above
    assert write_export(ExportConfig(format="coreml", output=str(output), force=True), model).check.passed
    assert not (output / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mlpackage", "a.mlpackage.swift"]


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("no such operator")


def test_repeated_labels_stay_apart() -> None:
    info = loaded_model("t8").info
    names = ("crane", "swan", "crane", "crane (4)", "crane")
    labels = coreml.class_labels(replace(info, class_names=names), CONFIG)
    assert labels == ("crane", "swan", "crane (2)", "crane (4)", "crane (4) (4)")


def test_a_classifier_of_one_class(tmp_path: Path) -> None:
    result = write_export(
        ExportConfig(format="coreml", output=str(tmp_path / "a.mlpackage")), tiny_model(class_names=("ant",))
    )
    assert result.check.passed, result.check.problems
    assert CoreMLEvaluator(Path(result.output)).labels == ("ant",)


@pytest.mark.parametrize("name", ["", "two\nlines", "no text \udcff"])
def test_names_that_core_ml_cannot_carry(name: str, tmp_path: Path) -> None:
    model = loaded_model("t8")
    names = ("ant", name, *CLASS_NAMES[2:])
    model = replace(model, info=replace(model.info, class_names=names))
    with pytest.raises(FastViTError, match="name of class 1") as error:
        write_export(ExportConfig(format="coreml", output=str(tmp_path / "a.mlpackage")), model)
    assert "--logits" in error.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def loud(monkeypatch: pytest.MonkeyPatch, model: LoadedModel) -> TorchRuntime:
    """The reference of a check, with logits as large as trained ones; those of the package are as much larger."""
    factor = 15 / float(TorchRuntime(model.network, model.info, CPU).logits(pixels(8)).abs().max())
    for runtime in (TorchRuntime, CoreMLEvaluator):
        monkeypatch.setattr(runtime, "logits", lambda self, x, original=runtime.logits: factor * original(self, x))
    return TorchRuntime(model.network, model.info, CPU)


def test_on_a_mac_core_mls_own_predictions_count(
    loud: TorchRuntime, exported: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Core ML itself is only there on a Mac: here it is played by the emulator, rightly and wrongly."""
    path = Path(exported.output)
    package = CoreMLEvaluator(path)

    def predict(_: Any, data: dict[str, Any], places: int = 0) -> dict[str, Any]:
        array = torch.from_numpy(np.array(data["image"])).permute(2, 0, 1)
        probabilities = package.logits(array[None]).softmax(-1)[0].half().roll(places)
        named = dict(zip(CLASS_NAMES, probabilities.tolist(), strict=True))
        return {"classLabel_probs": dict(reversed(named.items())), "classLabel": max(named, key=named.__getitem__)}

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("coremltools.models.MLModel.predict", predict)
    right = check_export(path, loud, None, "fp16", ())
    assert right.problems == ()
    assert right.method.endswith("predicted by Core ML on this Mac")

    monkeypatch.setattr("coremltools.models.MLModel.predict", lambda self, data: predict(self, data, places=1))
    for form in ("fp16", "palettize4"):
        wrong = check_export(path, loud, None, form, ())
        assert not wrong.passed
        assert "Core ML's own predictions differ by" in wrong.problems[0]


@pytest.mark.skipif("sys.platform == 'darwin'", reason="a Mac can predict")
def test_without_a_mac_core_ml_refuses(exported: ExportResult) -> None:
    with pytest.raises(WorkFailedError, match="Core ML cannot run"):
        CoreMLRuntime(CoreMLEvaluator(Path(exported.output))).logits(pixels(1))
