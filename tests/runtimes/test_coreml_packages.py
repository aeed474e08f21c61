"""Core ML packages of other programs, and with compressed weights, in the emulation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loaded import pixels
from torch import Tensor, nn

from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.runtimes import coreml_runtime
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
from fastvit_cli.runtimes.coreml_runtime import compute_plan
from fastvit_cli.runtimes.engines import with_engine
from fastvit_cli.runtimes.open import open_runtime

CPU = torch.device("cpu")
LABELS = ("tench, Tinca tinca", "goldfish", "hen")


class Small(nn.Module):
    """A classifier of pixels of 0 to 255, with operations that Apple's packages have and ours have not."""

    def __init__(self, classifies: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, 2, 1)
        self.norm = nn.BatchNorm2d(32)
        self.pool = nn.AvgPool2d(16)
        self.head = nn.Linear(32, len(LABELS))
        self.classifies = classifies
        generator = torch.Generator().manual_seed(0)
        for tensor in (*self.parameters(), self.norm.running_mean, self.norm.running_var):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) - 0.4)
        assert self.norm.running_var is not None
        self.norm.running_var.abs_().add_(0.5)

    def logits(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv((x - 127.0) * 0.01).relu())
        x = x.reshape(1, 4, 8, 256).transpose(1, 2).reshape(1, 32, 16, 16)
        return self.head(self.pool(x).flatten(1))  # type: ignore[no-any-return]  # modules are untyped

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(-1) if self.classifies else self.logits(x)


def _write(path: Path, classifies: bool, compress: Any = None, precision: str = "FLOAT32") -> Small:
    import coremltools as ct

    model = Small(classifies).eval()
    program = torch.export.export(model, (torch.zeros(1, 3, 32, 32),)).run_decompositions({})
    package = ct.convert(
        program,
        inputs=[ct.ImageType(name="picture", shape=(1, 3, 32, 32), color_layout=ct.colorlayout.RGB)],
        classifier_config=ct.ClassifierConfig(list(LABELS)) if classifies else None,
        compute_precision=getattr(ct.precision, precision),
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
    (package if compress is None else compress(package)).save(str(path))
    return model


def test_a_classifier_of_another_program(tmp_path: Path) -> None:
    model = _write(tmp_path / "other.mlpackage", classifies=True)
    runtime = open_runtime(tmp_path / "other.mlpackage", CPU)
    info = runtime.info
    assert (info.variant, info.num_classes, info.class_names) == ("other", 3, LABELS)
    assert info.preprocessing.img_size == 32
    images = pixels(3, size=32)
    with torch.inference_mode():
        expected = torch.cat([model.logits(image[None].float()) for image in images])
    torch.testing.assert_close(runtime.logits(images), expected)


def test_no_classifier(tmp_path: Path) -> None:
    _write(tmp_path / "other.mlpackage", classifies=False)
    with pytest.raises(FastViTError, match="no Core ML classifier of one square RGB image") as error:
        open_runtime(tmp_path / "other.mlpackage", CPU)
    assert "fastvit export" in error.value.hint


@pytest.mark.parametrize("kind", ["palettized", "quantized", "pruned"])
def test_compressed_weights_are_expanded(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    import coremltools.optimize.coreml as cto

    settings = {
        "palettized": (cto.palettize_weights, cto.OpPalettizerConfig(nbits=8, mode="uniform", weight_threshold=10)),
        "quantized": (cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(weight_threshold=10)),
        "pruned": (cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=10)),
    }
    compress, settings_of_kind = settings[kind]
    model = _write(
        tmp_path / "a.mlpackage",
        classifies=True,
        compress=lambda package: compress(package, cto.OptimizationConfig(settings_of_kind)),
    )
    capfd.readouterr()
    runtime = CoreMLEvaluator(tmp_path / "a.mlpackage")
    weights = next(tensor for tensor in runtime.weights() if tensor.shape == model.conv.weight.shape)
    difference = (weights - model.conv.weight).abs().max()
    if kind == "pruned":
        assert int((weights == 0).sum()) >= weights.numel() // 2
        kept = weights != 0
        torch.testing.assert_close(weights[kept], model.conv.weight.detach()[kept])
    else:
        assert 0 < difference < 0.01
    with torch.no_grad():
        model.conv.weight.copy_(weights)
        (model.head.weight,) = [nn.Parameter(w) for w in runtime.weights() if w.shape == model.head.weight.shape]
        images = pixels(1, size=32)
        torch.testing.assert_close(runtime.logits(images), model.logits(images.float()), rtol=1e-4, atol=1e-4)


def test_core_ml_itself_on_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only there on a Mac: here its predictions are played by the emulation."""
    _write(tmp_path / "other.mlpackage", classifies=True)
    package = CoreMLEvaluator(tmp_path / "other.mlpackage")

    def predict(_: Any, data: dict[str, Any]) -> dict[str, Any]:
        image = torch.from_numpy(np.array(data["picture"])).permute(2, 0, 1)[None]
        named = dict(zip(LABELS, package.logits(image).softmax(-1)[0].tolist(), strict=True))
        return {"classLabel": "hen", package.description.predictedProbabilitiesName: dict(reversed(named.items()))}

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("coremltools.models.MLModel.predict", predict)
    chosen = with_engine(package, "auto", 32, 1)
    assert (chosen.runtime.engine, chosen.own_form) == ("coreml", True)
    images = pixels(2, size=32)
    found, expected = chosen.runtime.logits(images), package.logits(images)
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1))
    monkeypatch.setattr("coremltools.models.MLModel.predict", lambda *_: 1 / 0)
    with pytest.raises(WorkFailedError, match="Core ML cannot run"):
        chosen.runtime.logits(images)


def test_the_plan_of_core_ml_is_read_by_unit_and_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core ML makes plans on a Mac alone: here of four operations, the last a constant."""

    class MLNeuralEngineComputeDevice: ...

    class MLGPUComputeDevice: ...

    kinds = {"a": "ios16.conv", "b": "ios16.conv", "c": "ios16.softmax", "d": "const"}
    operations = [SimpleNamespace(name=name, operator_name=kind) for name, kind in kinds.items()]
    devices = {"a": MLNeuralEngineComputeDevice(), "b": MLNeuralEngineComputeDevice(), "c": MLGPUComputeDevice()}

    def usage(operation: Any) -> Any:
        device = devices.get(operation.name)
        return None if device is None else SimpleNamespace(preferred_compute_device=device)

    function = SimpleNamespace(block=SimpleNamespace(operations=operations))
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=SimpleNamespace(functions={"main": function})),
        get_compute_device_usage_for_mlprogram_operation=usage,
        get_estimated_cost_for_mlprogram_operation=lambda operation: (
            None if operation.name == "b" else SimpleNamespace(weight=0.25)
        ),
    )
    asked: list[dict[str, Any]] = []
    loader = SimpleNamespace(load_from_path=lambda path, **options: (asked.append({path: options}), plan)[1])
    monkeypatch.setattr("coremltools.models.compute_plan.MLComputePlan", loader)
    monkeypatch.setattr("coremltools.models.utils.compile_model", lambda package: f"{package}c")
    assert compute_plan(Path("a.mlpackage")) == {"Neural Engine": 2 / 3, "GPU": 1 / 3}
    found = coreml_runtime._profile(Path("b"), "units", "label").operations
    shown = [(one.kind, one.calls, one.share, one.unit) for one in found]
    assert shown == [("conv", 2, 0.5, "Neural Engine"), ("softmax", 1, 0.5, "GPU")]
    assert asked == [{"a.mlpackagec": {}}, {"b": {"compute_units": "units"}}]
