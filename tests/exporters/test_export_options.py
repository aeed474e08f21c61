"""What `export` and `reparam` refuse before anything is loaded, and where they write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.loaded import loaded_model

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.export_options import ExportConfig, ReparamConfig
from fastvit_cli.exporters.outputs import choose_output
from fastvit_cli.formats import FORMATS


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return loaded_model("t8")


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({"format": "onnx"}, "fp32"),
        ({"format": "coreml"}, "fp16"),
        ({"format": "coreml", "precision": "fp32"}, "fp32"),
    ],
)
def test_precision_defaults_to_the_formats_own(options: dict[str, str], precision: str) -> None:
    assert ExportConfig(**options).resolved_precision == precision


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"format": "onxn"}, "onxn", "Did you mean 'onnx'"),
        ({"format": "onnx", "precision": "mixed"}, "mixed", "fp32, fp16, int8"),
        ({"format": "onnx", "logits": True}, "--logits is not for ONNX, but for coreml", "--opset, --image-input"),
        ({"format": "pt2", "debug_drift": True}, "but for onnx and coreml", "pt2 takes no options of its own"),
        ({"format": "coreml", "opset": 21}, "--opset is not for Core ML", "--list"),
        ({"format": "coreml", "batch_size": 4, "tensor_input": True}, "one image at a time", "--logits"),
        ({"format": "coreml", "compress": "int4", "deployment_target": "iOS17"}, "iOS 18", "palettize4"),
        ({"format": "coreml", "compress": "int8", "precision": "mixed"}, "--compress", "--precision"),
        ({"format": "coreml", "batch_size": 4}, "4", "--tensor-input"),
        ({"batch_size": 0}, "0", "1 or more"),
    ],
)
def test_export_refuses(options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(FastViTError) as error:
        ExportConfig(**options)
    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"layout": "reference", "fuse": "all"}, "--layout native"),
        ({"layout": "timm", "fuse": "all"}, "--layout native"),
        ({"layout": "torch"}, "native, timm, reference"),
        ({"fuse": "branch"}, "Did you mean 'branches'"),
    ],
)
def test_reparam_refuses(options: dict[str, str], hint: str) -> None:
    with pytest.raises(FastViTError) as error:
        ReparamConfig(**options)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("runs/best.safetensors", "runs/best.onnx"),
        ("weights/unfused.pth.tar", "weights/unfused.onnx"),
        ("v1.2.pth", "v1.2.onnx"),
        (None, "fastvit_t8.onnx"),
    ],
)
def test_output_lies_beside_the_weights(loaded: LoadedModel, source: str | None, expected: str) -> None:
    model = replace(loaded, path=Path(source) if source else None)
    assert choose_output(None, model, ".onnx", force=False) == Path(expected)


def test_a_suffix_may_be_left_out(loaded: LoadedModel, tmp_path: Path) -> None:
    assert choose_output(str(tmp_path / "model"), loaded, ".onnx", force=False) == tmp_path / "model.onnx"


def test_output_of_another_kind_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match=r"does not end in \.mlpackage"):
        choose_output(str(tmp_path / "a.onnx"), loaded, ".mlpackage", force=False)


def test_the_model_itself_is_never_the_output(loaded: LoadedModel, tmp_path: Path) -> None:
    model = replace(loaded, path=tmp_path / "best.safetensors")
    with pytest.raises(FastViTError, match="is the model itself"):
        choose_output(f"{tmp_path}/../{tmp_path.name}/best.safetensors", model, "_fused.safetensors", force=True)


def test_missing_libraries_are_named() -> None:
    needy = replace(FORMATS["coreml"], needs=("coremltools", "no_such_library"))
    with pytest.raises(FastViTError, match="needs no_such_library") as error:
        needy.check_writable()
    assert error.value.hint == "Run: pip install no_such_library"


def test_core_ml_is_not_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(FastViTError, match="win32"):
        FORMATS["coreml"].check_writable()
