"""Opening files as runtimes, and files that are none."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from helpers.loaded import pixels, saved_model
from onnx import TensorProto, helper

from fastvit_cli.checkpoints.files import EXPORTED_SUFFIXES
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.formats import FORMATS
from fastvit_cli.runtimes.open import open_runtime

CPU = torch.device("cpu")


def test_weights_open_in_pytorch(tmp_path: Path) -> None:
    loaded = saved_model(tmp_path / "a.safetensors")
    runtime = open_runtime(tmp_path / "a.safetensors", CPU)
    assert (runtime.engine, runtime.info) == ("torch", loaded.info)
    assert runtime.logits(pixels(2)).shape == (2, 5)


def test_what_export_writes_is_what_is_opened_as_exported() -> None:
    assert {target.suffix for target in FORMATS.values()} == set(EXPORTED_SUFFIXES)


@pytest.mark.parametrize("name", ["a.onnx", "a.mlpackage", "a.pth"])
def test_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(FastViTError, match="There is no file"):
        open_runtime(tmp_path / name, CPU)


def test_damaged_onnx(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no protobuf")
    with pytest.raises(FastViTError, match="no ONNX model that can be opened"):
        open_runtime(tmp_path / "a.onnx", CPU)


def test_damaged_package(tmp_path: Path) -> None:
    (tmp_path / "a.mlpackage").mkdir()
    with pytest.raises(FastViTError, match="no Core ML model that can be opened"):
        open_runtime(tmp_path / "a.mlpackage", CPU)


def test_onnx_of_another_program(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 64, 64])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 64, 64])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [image], [out])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), tmp_path / "other.onnx")
    with pytest.raises(FastViTError, match="does not say which model it is") as error:
        open_runtime(tmp_path / "other.onnx", CPU)
    assert "fastvit export" in error.value.hint


def _package(path: Path, build: object, metadata: dict[str, str]) -> Path:
    """A tiny ML program of (1, 3, 32, 32)."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 32, 32))])(build)
    model = ct.convert(program, compute_precision=ct.precision.FLOAT32, skip_model_load=True)
    model.user_defined_metadata.update(metadata)
    model.save(str(path))
    return path


def test_core_ml_of_another_program(tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb

    path = _package(tmp_path / "other.mlpackage", lambda x: mb.relu(x=x), {})
    with pytest.raises(FastViTError, match="does not say which model it is"):
        open_runtime(path, CPU)


def test_an_operation_that_is_not_ours_is_named(tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb

    info = saved_model(tmp_path / "a.safetensors").info.to_json()
    path = _package(tmp_path / "cos.mlpackage", lambda x: mb.cos(x=x), {"fastvit": info})
    with pytest.raises(FastViTError, match=r"cannot compute: cos \(x\)"):
        open_runtime(path, CPU)
