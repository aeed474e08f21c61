"""Opening files as runtimes, and files that are none."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from helpers.loaded import pixels, saved_model
from onnx import TensorProto, helper

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.open import open_runtime

CPU = torch.device("cpu")


def test_weights_open_in_pytorch(tmp_path: Path) -> None:
    loaded = saved_model(tmp_path / "a.safetensors")
    runtime = open_runtime(tmp_path / "a.safetensors", CPU)
    assert (runtime.engine, runtime.info) == ("torch", loaded.info)
    assert runtime.logits(pixels(2)).shape == (2, 5)


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
    assert "`fastvit bench` times it" in error.value.hint


def test_weights_beside_the_graph_that_are_not_there(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, (400,), b"\0" * 1600, raw=True)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (400,))
    graph = helper.make_graph([helper.make_node("Relu", ["w"], ["y"])], "g", [], [out], [weight])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    path = tmp_path / "a.onnx"
    onnx.save(model, path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    (tmp_path / "a.onnx.data").rename(tmp_path / "b.onnx.data")
    with pytest.raises(FastViTError, match=r"keeps its weights in 'a\.onnx\.data', which is not there") as error:
        open_runtime(path, CPU)
    assert "into one folder" in error.value.hint
    (tmp_path / "a.xml").write_text("<net></net>")
    with pytest.raises(FastViTError, match=r"keeps its weights in 'a\.bin', which is not there"):
        open_runtime(tmp_path / "a.xml", CPU)


def test_two_inputs(tmp_path: Path) -> None:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 64, 64]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", given[:2], given[2:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {"fastvit": saved_model(tmp_path / "a.safetensors").info.to_json()})
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(FastViTError, match=r"two\.onnx' takes 2 inputs"):
        open_runtime(tmp_path / "two.onnx", CPU)


@pytest.mark.parametrize("name", ["p.mlpackage/Data/com.apple.CoreML/weights/weight.bin", "a.onnx", "a.bin"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    pipe.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    (tmp_path / "a.xml").write_text("<net></net>")
    path = {"weight.bin": tmp_path / "p.mlpackage", "a.bin": tmp_path / "a.xml"}.get(pipe.name, pipe)
    with pytest.raises(FastViTError, match=rf"{pipe.name}' is no regular file"):
        open_runtime(path, CPU)


@pytest.mark.parametrize("suffix", [".pt2", ".torchscript"])
def test_nothing_that_can_run_code_is_opened_without_trust(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda *given, **_: opened.append(given))
    monkeypatch.setattr(torch.export, "load", lambda *given, **_: opened.append(given))
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")
    with pytest.raises(FastViTError, match=rf"any \{suffix} file can run code on this machine") as error:
        open_runtime(path, CPU)
    assert "--trust" in error.value.hint
    assert not opened
    with pytest.raises(FastViTError):  # of what the fake loader gives
        open_runtime(path, CPU, trust=True)
    assert opened


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
