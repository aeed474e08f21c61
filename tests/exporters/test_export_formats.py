"""Every format and option on a tiny network: written, opened again and the same twice."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from helpers.exports import CPU, IMAGE_INPUT, Exports, expected_of, exported_to, save_changed
from helpers.loaded import CLASS_NAMES, PLACE, pixels, tiny_model
from helpers.program import run

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.exporters import coreml, coreml_compress, onnx_int8
from fastvit_cli.exporters import onnx as onnx_exporter
from fastvit_cli.exporters.drift import describe_drift, layer_drifts
from fastvit_cli.exporters.export import ExportResult, write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.format_list import list_formats
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.exporters.sensitivity import relative_change
from fastvit_cli.formats import FORMATS
from fastvit_cli.models.channels_first import channels_first
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.runtimes.open import open_runtime
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

pytestmark = pytest.mark.quick


def _digest(result: ExportResult) -> list[tuple[str, str]]:
    """Names and hashes of all files that were written, snippets included."""
    files = sorted(file for file in Path(result.output).parent.rglob("*") if file.is_file())
    return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def _content(folder: Path) -> bytes:
    """Of all files below, those inside archives included, but for TorchScript's notes on where PyTorch lies."""
    content = b""
    for file in folder.rglob("*"):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if not name.endswith(".debug_pkl")]
                content += b"".join(map(archive.read, names))
        elif file.is_file():
            content += file.read_bytes()
    return content


@pytest.mark.parametrize("format_", ["onnx", "coreml", "pt2", "torchscript", "openvino"])
def test_twice_the_same(model: LoadedModel, exported: Exports, tmp_path: Path, format_: str) -> None:
    first = exported(format_)
    assert first.check.passed, first.check.problems
    runtime = open_runtime(Path(first.output), CPU, trust=True)
    assert (runtime.info.class_names, runtime.info.form) == (CLASS_NAMES, "all")
    tolerance = 1e-2 if format_ == "coreml" else 1e-4
    for count in (1, 3):
        torch.testing.assert_close(runtime.logits(pixels(count)), expected_of(model, count), rtol=0, atol=tolerance)
    second = exported_to(model, tmp_path, format_)
    assert torch.equal(
        open_runtime(Path(second.output), CPU, trust=True).logits(pixels(3)), runtime.logits(pixels(3))
    )
    if format_ not in ("torchscript", "openvino"):  # which number what they name within a process
        assert _digest(first) == _digest(second)
    content = _content(Path(first.output).parent)
    for place in (PLACE, str(Path(__file__).parents[2])):
        assert place.encode() not in content, "no path of this machine travels"
    assert b'"class_names"' in content.replace(b"&quot;", b'"').replace(b'\\"', b'"'), "and the metadata is read here"


@pytest.mark.parametrize("suffix", [".pt2", ".torchscript", ".xml"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"nothing of the kind")
    path.with_suffix(".bin").touch()  # an .xml without one lacks its weights
    with pytest.raises(FastViTError, match="model that can be opened") as error:
        open_runtime(path, CPU, trust=True)
    assert error.value.hint


def test_float16_between_float32_at_a_size_between_the_strides(exported: Exports) -> None:
    result = exported("onnx", precision="fp16", img_size=72, debug_drift=True)
    assert (result.check.passed, result.img_size) == (True, 72)
    assert result.drift is not None
    assert result.drift.startswith("none of ")
    graph = onnx.load(result.output).graph
    kinds = {graph.input[0].type.tensor_type.elem_type, graph.output[0].type.tensor_type.elem_type}
    assert kinds == {onnx.TensorProto.FLOAT}
    weights = [tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4]
    assert set(weights) == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("options", [{}, IMAGE_INPUT])
def test_no_shape_is_computed(exported: Exports, options: dict[str, Any]) -> None:
    written = onnx.load(exported("onnx", **options).output)
    operations = {node.op_type for node in written.graph.node}
    assert not operations & {"Shape", "Gather", "Concat", "Identity", "BatchNormalization"}, operations
    assert [item.version for item in written.opset_import if not item.domain] == [options.get("opset", 20)]


def test_core_ml_mixed(exported: Exports) -> None:
    result = exported("coreml", precision="mixed")
    assert result.check.passed, result.check.problems
    assert result.notes[0].startswith("kept in fp32: sub, reduce_mean")


@pytest.mark.parametrize("compress", ["int4", "palettize4"])
def test_core_ml_leaves_out_the_layers_that_do_not_bear_fewer_bits(
    monkeypatch: pytest.MonkeyPatch, compress: str
) -> None:
    if compress == "palettize4":
        pytest.importorskip("sklearn")
    model = tiny_model(64)  # smaller weights are not worth fewer bits
    network = channels_first(fuse_all(model.network))
    converted = coreml.convert(network, model.info, ExportConfig(format="coreml", compress=compress))
    changes: list[float] = []

    def noted(found: torch.Tensor, expected: torch.Tensor) -> float:
        changes.append(relative_change(found, expected))
        return changes[-1]

    def compressed(limit: float) -> tuple[list[bool], str]:
        """Which layers have fewer bits, and the words."""
        changes.clear()
        monkeypatch.setattr(coreml_compress, "largest_change", lambda _: limit)
        runtime = TorchRuntime(network, model.info, CPU)
        result, words = coreml_compress.compressed(converted, compress, runtime, Calibration(pixels(20, seed=2)))
        return [coreml_compress._is_small(layer.weight) for layer in coreml_compress._layers(result)], words

    monkeypatch.setattr(coreml_compress, "relative_change", noted)
    everywhere, words = compressed(9.0)
    assert len(set(changes)) == len(changes) == sum(everywhere) > 5, "each was tried with other weights"
    assert "stay as they are" not in words
    limit = sorted(changes)[2]
    some, words = compressed(limit)
    of_those = [small for small, could in zip(some, everywhere, strict=True) if could]
    assert of_those == [change <= limit for change in changes]
    assert words.startswith(f"{compress}: 3 of {len(everywhere)} layers, which hold ")
    assert f"; {len(changes) - 3} stay as they are" in words
    none, words = compressed(0.0)
    assert not any(none)
    assert words.startswith(f"{compress}: 0 of ")


def test_core_ml_in_fewer_bits(exported: Exports) -> None:
    result = exported("coreml", compress="int4")
    assert result.check.passed, result.check.problems
    assert result.notes[0].startswith("int4: ")


def test_int8_measures_what_it_does(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pointwise = onnx_int8._pointwise
    monkeypatch.setattr(onnx_int8, "_pointwise", lambda graph: pointwise(graph)[-2:])
    monkeypatch.setattr(onnx_int8, "largest_change", lambda _: 0.9)  # random weights suffer more than trained ones
    result = exported_to(model, tmp_path, "onnx", precision="int8")
    assert result.check.max_abs_error is not None
    assert result.notes == ("int8: 2 of 2 1x1 convolutions, calibrated on 20 images",), "there are no others"
    operations = [node.op_type for node in onnx.load(result.output).graph.node]
    assert operations.count("QuantizeLinear") > 0
    monkeypatch.setattr(onnx_int8, "largest_change", lambda _: 0.0)
    nothing = exported_to(model, tmp_path, "onnx", precision="int8")
    assert "none of" in nothing.notes[0]
    assert nothing.check.max_abs_error is not None
    assert nothing.check.max_abs_error < 1e-4


def test_int8_needs_images(model: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match="need images to calibrate with"):
        write_export(ExportConfig(precision="int8", output=str(tmp_path / "a.onnx")), model)
    assert list(tmp_path.iterdir()) == []


def test_drift_names_the_first_layer(model: LoadedModel, exported: Exports, tmp_path: Path) -> None:
    result = exported("onnx")
    broken = onnx.load(result.output)
    name = next(
        tensor.name for tensor in broken.graph.initializer if "stages.1.blocks.0.mlp.fc1.weight" in tensor.name
    )
    (tensor,) = [tensor for tensor in broken.graph.initializer if tensor.name == name]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] *= 3
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path = tmp_path / "broken.onnx"
    save_changed(broken, path)
    drifts = layer_drifts(path, channels_first(fuse_all(model.network)), model.info, pixels(1))
    assert "first at stages.1.blocks.0.mlp.fc1 (conv): " in describe_drift(drifts, 1e-4)
    assert "after stages.1.blocks.0.mlp.conv" in describe_drift(drifts, 1e-4)


def test_drift_without_a_gelu_of_its_own(exported: Exports) -> None:
    result = exported("onnx", **IMAGE_INPUT)
    assert "Gelu" not in {node.op_type for node in onnx.load(result.output).graph.node}
    assert result.drift is not None
    assert result.drift.startswith("none of "), result.drift


def test_a_full_disk_leaves_nothing(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_exporter, "to_onnx", lambda *_, **__: onnx.ModelProto())
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FastViTError, match="No space left on device") as error:
        exported_to(model, tmp_path, "onnx")
    assert "Free some space" in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_missing_extra(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    with pytest.raises(FastViTError, match="needs openvino") as error:
        exported_to(model, tmp_path, "openvino")
    assert error.value.hint == "Run: pip install 'fastvit[openvino]'"
    row = next(row for row in list_formats().formats if row.name == "openvino")
    assert (row.available, row.install) == (False, "pip install 'fastvit[openvino]'")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "export", "--list")
    assert shown.code == 0
    for name, target in FORMATS.items():
        assert name in shown.out
        assert target.suffix in shown.out
    document = run(capsys, "export", "--list", "--json").result
    assert [row["name"] for row in document["formats"]] == list(FORMATS)
    assert "--tensor-input" in document["formats"][1]["options"]


def test_a_failed_conversion_is_two_lines(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(WorkFailedError, match="could not export"):
        exported_to(model, tmp_path, "pt2")
    assert list(tmp_path.iterdir()) == []
