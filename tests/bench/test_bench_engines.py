"""Each engine runs what it is given, and how: ONNX Runtime, compiled PyTorch, Core ML, and PyTorch's profile."""

import enum
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from helpers.bench_runs import assert_only_error, config, info_of, results, subject
from onnx import TensorProto, helper

from fastvit_cli.bench.run import run_bench
from fastvit_cli.bench.subjects import Subject
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes import coreml_runtime
from fastvit_cli.runtimes.bound import Job, bind_of

pytestmark = pytest.mark.usefixtures("short")


def job_of(network: FastViT, path: Path, batch_size: int) -> Job:
    """A file of a 64 px network, as an engine gets it."""
    info = replace(info_of(network), form="all", preprocessing=Preprocessing(img_size=64))
    images = torch.randn(batch_size, 3, 64, 64)
    return Job(
        label=path.name,
        network=None,
        path=path,
        info=info,
        device=torch.device("cpu"),
        dtype=torch.float32,
        images=images,
    )


def test_onnx_runtime_times_a_network_and_a_file(
    network: FastViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastvit_cli.runtimes import onnx_conversion

    info = replace(info_of(network), preprocessing=Preprocessing(img_size=64))
    path = tmp_path / "t8.onnx"
    graph = onnx_conversion.to_onnx(fuse_all(network), info)
    path.write_bytes(graph.SerializeToString())
    converted: list[tuple[str, int]] = []

    def convert(given: FastViT, its_info: ModelInfo) -> Any:
        converted.append((given.form, its_info.preprocessing.img_size))
        return graph

    monkeypatch.setattr(onnx_conversion, "to_onnx", convert)  # it takes long
    file = Subject(name="t8.onnx", path=path, info=info)
    same = Subject(name="t8", network=network, info=info)
    options = config(engine=("onnxruntime",), profile=True)
    done = run_bench(options, [file, same])
    assert converted == [("all", 64)]
    for row in done.result.results:
        assert (row.error, row.engine, row.device) == (None, "onnxruntime", "cpu")
        assert row.size_bytes == pytest.approx(path.stat().st_size, rel=0.01)
        assert row.multiply_adds
    # A file has one size and one engine; the default engine cannot open it, its own takes it.
    other_size, as_asked = results(config(img_size="96,64"), file)
    assert_only_error(other_size, "takes images of 64 px alone")
    assert (as_asked.engine, as_asked.error) == ("onnxruntime", None)
    (half,) = results(config(engine=("onnxruntime",), dtype=("bfloat16",)), same)
    assert_only_error(half, "float32 alone")
    # Its own profile: operations, and layers by the weights they read.
    profile, _ = done.result.profiles
    assert {"Conv", "Gelu", "Gemm"} <= {operation.kind for operation in profile.operations}
    assert sum(operation.share for operation in profile.operations) == pytest.approx(1)
    layers = {layer.name: layer.ms for layer in profile.layers}
    assert "(no layer)" not in layers
    assert layers[""] >= layers["stages"] >= layers["stages.3"] > 0
    assert {"stem.0.reparam_conv", "stages.3.blocks.0.mlp.fc2", "head.fc"} <= set(layers)
    assert '"model_run"' in done.traces[0]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_graphs_that_take_pixels_are_fed_pixels(network: FastViT, tmp_path: Path, engine: str) -> None:
    """`export --image-input` writes them; here, a graph that only averages each channel."""
    pytest.importorskip(engine)
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 64, 64, 3])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "pixels", [given], [out], [axes])
    opset = [helper.make_opsetid("", 20)]
    path = tmp_path / "t8.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), path)
    bound = bind_of(engine)(job_of(network, path, batch_size=2))
    bound.parts[0]()
    if bound.profile is not None:
        assert {operation.kind for operation in bound.profile()[0].operations} == {"Cast", "ReduceMean"}


def test_compiled_is_a_program_of_its_own_with_frozen_weights(
    network: FastViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def compile_(program: torch.nn.Module, **options: Any) -> torch.nn.Module:
        asked.append(options)
        assert not isinstance(program, FastViT), "they would share eight compilations of FastViT.forward"
        return program

    monkeypatch.setattr(torch, "compile", compile_)
    eager, compiled = results(config(engine=("torch", "compile")), subject(network))
    assert (compiled.engine, compiled.error, compiled.params) == ("compile", None, eager.params)
    assert [(one["fullgraph"], one["options"]) for one in asked] == [(True, {"freezing": True})]

    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nSet …")

    monkeypatch.setattr(torch, "compile", lambda _program, **_: no_compiler)
    (row,) = results(config(engine=("compile",)), subject(network))
    assert_only_error(row, "No working C++ compiler found")


def test_the_profile_of_pytorch_has_layers_operations_and_a_trace(network: FastViT) -> None:
    done = run_bench(config(profile=True), [subject(network)])
    (profile,) = done.result.profiles
    layers = {layer.name: layer for layer in profile.layers}
    assert layers[""].kind == "FastViT"
    assert layers["stages.3.blocks.0.mlp"].kind == "ConvFFN"
    assert layers[""].ms >= layers["stages"].ms >= layers["stages.3"].ms > 0
    assert profile.step_ms == layers[""].ms
    kinds = {operation.kind: operation for operation in profile.operations}
    assert kinds["conv2d"].calls == sum(isinstance(m, torch.nn.Conv2d) for m in fuse_all(network).modules())
    assert sum(operation.share for operation in profile.operations) <= 1 + 1e-9
    assert "layer stages.3" in done.traces[0]
    assert not any(module._forward_hooks for module in network.modules())


@pytest.fixture
def core_ml(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Mac, as far as the engine can see it; what was loaded and with which units."""
    calls: list[str] = []

    class Model:
        def __init__(self, path: str, compute_units: enum.Enum) -> None:
            calls.append(f"load {Path(path).suffix} {compute_units.name}")
            if compute_units.name == "CPU_AND_NE":
                raise RuntimeError("no Neural Engine here\nat all")

        def predict(self, feed: dict[str, Any]) -> None:
            if "images" in feed:
                assert feed["images"].shape == (2, 3, 64, 64)
            else:
                assert feed["image"].size == (64, 64)

    def load_spec(package: str) -> Any:
        tensor = Path(package).stem == "tensor"
        kind, name = ("multiArrayType", "images") if tensor else ("imageType", "image")
        array = SimpleNamespace(shape=[2, 3, 64, 64])
        port = SimpleNamespace(name=name, type=SimpleNamespace(multiArrayType=array, WhichOneof=lambda _: kind))
        return SimpleNamespace(description=SimpleNamespace(input=[port]))

    def compile_model(_package: str, to: str) -> None:
        calls.append(f"compile {Path(to).suffix}")

    library = SimpleNamespace(
        utils=SimpleNamespace(load_spec=load_spec),
        ComputeUnit=enum.Enum("ComputeUnit", "ALL CPU_AND_GPU CPU_ONLY CPU_AND_NE"),
        models=SimpleNamespace(utils=SimpleNamespace(compile_model=compile_model), CompiledMLModel=Model),
    )
    monkeypatch.setitem(sys.modules, "coremltools", library)
    monkeypatch.setattr("sys.platform", "darwin")
    return calls


def test_core_ml_is_timed_on_each_choice_of_units(network: FastViT, core_ml: list[str]) -> None:
    written: list[Path] = []

    def write(_network: object, info: ModelInfo, path: Path) -> None:
        assert info.preprocessing.img_size == 64
        path.mkdir()
        (path / "weights").write_bytes(b"x" * 1000)
        written.append(path)

    rows = run_bench(config(engine=("coreml",)), [subject(network)], write_package=write).result.results
    assert [row.compute_units for row in rows] == ["all", "cpu_and_ne", "cpu_and_gpu", "cpu_only"]
    assert len(written) == 1, "one package for all units"
    assert_only_error(rows[1], "Core ML refuses the package (no Neural Engine here)")
    for row in (rows[0], *rows[2:]):
        assert (row.error, row.dtype, row.size_bytes) == (None, "float16", 1000)
        assert row.compile_ms is not None
    assert core_ml[:2] == ["compile .mlmodelc", "load .mlmodelc ALL"]
    (batch, *_) = run_bench(
        config(engine=("coreml",), batch_size="2"), [subject(network)], write_package=write
    ).result.results
    assert_only_error(batch, "one image at a time")


def test_core_ml_packages_that_take_tensors(network: FastViT, core_ml: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tensor.mlpackage"
    path.mkdir()
    package = replace(job_of(network, path, batch_size=2), compute_units="cpu_only")
    coreml_runtime.bind(package).parts[0]()
    assert core_ml == ["compile .mlmodelc", "load .mlmodelc CPU_ONLY"]
    with pytest.raises(FastViTError, match="takes 2 images at a time"):
        coreml_runtime.bind(replace(package, images=package.images[:1]))
