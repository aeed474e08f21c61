"""Opening files as runtimes, and files that are none."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from helpers.loaded import pixels, saved_model
from onnx import TensorProto, helper

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes import mil_operations
from fastvit_cli.runtimes.mil_operations import OPERATIONS, constant
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


def test_operations_agree_with_apples_own_definitions() -> None:
    """coremltools computes some operations on constants itself, by NumPy: the same arguments, the same values."""
    import coremltools  # noqa: F401 - loads the parts in order
    import numpy as np
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program

    random = np.random.RandomState(0)
    x, y = (random.standard_normal((2, 3, 4)).astype(np.float32) for _ in range(2))
    square = random.standard_normal((2, 4, 4)).astype(np.float32)
    weight, bias = random.standard_normal((5, 4)).astype(np.float32), np.ones(5, np.float32)
    int32 = np.int32
    cases = {
        "add": {"x": x, "y": y},
        "sub": {"x": x, "y": y},
        "mul": {"x": x, "y": y},
        "gelu": {"x": x, "mode": "EXACT"},
        "linear": {"x": x[0], "weight": weight, "bias": bias},
        "matmul": {"x": x, "y": square, "transpose_x": False, "transpose_y": True},
        "reduce_mean": {"x": x, "axes": np.array([1, -1], int32), "keep_dims": True},
        "relu": {"x": x},
        "reshape": {"x": x, "shape": np.array([4, 6], int32)},
        "sigmoid": {"x": x},
        "softmax": {"x": x, "axis": int32(1)},
        "split": {"x": x, "split_sizes": np.array([1, 2], int32), "axis": int32(1)},
        "squeeze": {"x": x[:, :1], "axes": np.array([1], int32)},
        "transpose": {"x": x, "perm": np.array([2, 0, 1], int32)},
    }
    assert set(OPERATIONS) - set(cases) == {"cast", "conv"}, "coremltools does not compute these two"
    program = Program()
    with Function({}) as function:
        for name, arguments in cases.items():
            apple = getattr(mb, name)(**arguments)
            ours = OPERATIONS[name](**{key: constant(value) for key, value in arguments.items()})
            pairs = zip(apple, ours, strict=True) if isinstance(ours, tuple) else [(apple, ours)]
            for theirs, mine in pairs:
                assert theirs.val is not None, name
                torch.testing.assert_close(mine, torch.from_numpy(np.array(theirs.val)), msg=lambda m, n=name: n + m)
        function.set_outputs([])
    program.add_function("main", function)


def test_unusual_modes_are_refused() -> None:
    image, weight = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3)
    with pytest.raises(FastViTError, match="pads a convolution by 'same'"):
        mil_operations.OPERATIONS["conv"](image, weight, pad_type="same")
    with pytest.raises(FastViTError, match="SIGMOID"):
        mil_operations.OPERATIONS["gelu"](image, mode="SIGMOID_APPROXIMATION")
    padded = mil_operations.OPERATIONS["conv"](image, weight, pad_type="custom", pad=(1, 0, 2, 0))
    assert padded.shape == (1, 1, 3, 4), "top, bottom, left, right"
