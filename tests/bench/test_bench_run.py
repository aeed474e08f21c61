"""Timing real small networks: true rows, failures that become rows, and ratios."""

import copy
import enum
import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from fastvit_cli.bench import engines, run, timer
from fastvit_cli.bench.config import BenchConfig
from fastvit_cli.bench.engines.base import Job
from fastvit_cli.bench.events import (
    BenchEvent,
    BenchRow,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.bench.run import run_bench
from fastvit_cli.bench.subjects import Subject, timm_peer
from fastvit_cli.bench.timer import Samples, WarmUp
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import EXIT_USAGE, FastViTError
from fastvit_cli.models.cost import Cost, network_cost
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant

FIGURES = ("median_ms", "p90_ms", "p99_ms", "mean_ms", "trimmed_mean_ms", "images_per_second", "samples", "flops")
MS = 1_000_000


def config(**options: Any) -> BenchConfig:
    return BenchConfig(**{"device": "cpu", "iterations": 2, "min_seconds": 0.0, "img_size": "64", **options})


def stub_cost(network: torch.nn.Module, img_size: int) -> Cost:
    return Cost(sum(parameter.numel() for parameter in network.parameters()), img_size, 1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short warm-ups, no measured peak and no counting: nothing here looks at how long anything took."""
    monkeypatch.setattr(timer, "_WINDOW_NS", 0)
    monkeypatch.setattr(timer, "_WINDOW_STEPS", 1)
    monkeypatch.setattr(run, "matmul_peak", lambda _device, _dtype: 1e12)
    monkeypatch.setattr(run, "network_cost", stub_cost)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # with pytest's objects longer than all the rest


@pytest.fixture(scope="module")
def network() -> FastViT:
    """All kinds of blocks of a t8, as small as they come: a step takes a few milliseconds."""
    return FastViT(replace(get_variant("t8"), depths=(1, 1, 1, 1), widths=(8, 16, 32, 64)), num_classes=5)


def info_of(network: FastViT) -> ModelInfo:
    return ModelInfo("t8", network.form, network.num_classes, Preprocessing(img_size=96))


def subject(network: FastViT, name: str = "t8") -> Subject:
    return Subject(name=name, network=network, info=info_of(network), top1=76.2, top1_source="published")


Simulate = Callable[[Mapping[int, list[int]]], None]


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Replace the timer by one that takes a single step and reports the given durations of each subject."""

    def replace_timer(rounds_ms: Mapping[int, list[int]]) -> None:
        def warm_up(timed: timer.Timed, _limits: object) -> WarmUp:
            for part in timed.parts:
                part()
            timed.synchronize()
            return WarmUp(1, MS, MS, MS)

        def interleave(subjects: Mapping[int, Any], *_: object, **__: object) -> dict[int, Samples]:
            return {key: Samples(((tuple((ms * MS,) for ms in rounds_ms[key])),)) for key in subjects}

        monkeypatch.setattr(timer, "warm_up", warm_up)
        monkeypatch.setattr(timer, "interleave", interleave)

    return replace_timer


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


def failing(network: FastViT, error: BaseException) -> FastViT:
    broken = copy.deepcopy(network)

    def fail(*_: object) -> None:
        raise error

    broken.stem.register_forward_pre_hook(fail)
    return broken


def results(config: BenchConfig, *subjects: Subject) -> tuple[BenchRow, ...]:
    return run_bench(config, subjects).result.results


def assert_only_error(row: BenchRow, error: str) -> None:
    assert row.error is not None
    assert error in row.error
    assert "\n" not in row.error
    assert [getattr(row, name) for name in (*FIGURES, "peak_memory_mb", "ratio")] == [None] * 10


def test_a_real_measurement_fills_the_row(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "network_cost", network_cost)
    before = copy.deepcopy(network.state_dict())
    done = run_bench(config(batch_size="2", iterations=6), [subject(network)])
    (row,) = done.result.results
    assert (row.name, row.engine, row.device, row.batch_size, row.img_size) == ("t8", "torch", "cpu", 2, 64)
    assert (row.error, row.fuse, row.dtype, row.part, row.samples) == (None, "all", "float32", "inference", 6)
    fused = fuse_all(network)
    assert row.params == sum(p.numel() for p in fused.parameters())
    assert row.size_bytes == sum(t.nbytes for t in (*fused.parameters(), *fused.buffers()))
    assert row.median_ms is not None
    assert row.p90_ms is not None
    assert row.p99_ms is not None
    assert row.interval_ms is not None
    assert 0 < row.interval_ms[0] <= row.median_ms <= row.p90_ms <= row.p99_ms
    assert row.images_per_second == pytest.approx(2 / (row.median_ms / 1e3))
    assert row.multiply_adds == 2 * network_cost(fused, 64).multiply_adds
    assert row.flops == pytest.approx(2 * row.multiply_adds / (row.median_ms / 1e3))
    assert row.flops is not None
    assert row.peak_share == pytest.approx(row.flops / 1e12)
    assert row.load_ms is not None
    assert row.first_ms is not None
    assert (row.top1, row.top1_source) == (76.2, "published")
    assert [len(round_) for round_ in done.samples[0]] == [1] * 6
    assert done.result.machine.torch == torch.__version__
    # The subject is left as it came.
    assert network.training
    assert network.form == "unfused"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_runs_is_the_form_the_type_the_size_and_the_batch_that_were_asked_for(
    network: FastViT, simulated: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated({index: [1] for index in range(6)})
    seen: list[tuple[object, ...]] = []
    forward = FastViT.forward

    def spy(self: FastViT, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        seen.append((self.form, self.training, torch.is_inference_mode_enabled(), tuple(x.shape), x.dtype, last))
        return forward(self, x)

    monkeypatch.setattr(FastViT, "forward", spy)
    forms = ("unfused", "branches", "all")
    rows = results(config(fuse=forms, batch_size="3", dtype=("float32", "bfloat16")), subject(network))
    wanted = [(form, dtype) for form in forms for dtype in ("float32", "bfloat16")]
    assert [(row.fuse, row.dtype, row.error) for row in rows] == [(*pair, None) for pair in wanted]
    assert seen == [(form, False, True, (3, 3, 64, 64), getattr(torch, dtype), False) for form, dtype in wanted]
    assert network.training  # a copy was timed, also when nothing was fused
    (row,) = results(config(img_size=None, channels_last=True), subject(network))
    assert (row.img_size, row.channels_last) == (96, True)
    assert seen[-1][3:] == ((1, 3, 96, 96), torch.float32, True)


def test_images_follow_the_seed(network: FastViT, simulated: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated({0: [1]})
    seen: list[Tensor] = []
    eager = engines.ENGINES["torch"]
    monkeypatch.setitem(engines.ENGINES, "torch", lambda job: (seen.append(job.images), eager(job))[1])
    for seed in (0, 0, 1):
        results(config(seed=seed), subject(network))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_sweeps_are_rows_side_by_side_only_within_one_batch_and_size(
    network: FastViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    interleave = timer.interleave
    monkeypatch.setattr(timer, "interleave", lambda s, *a, **k: (sides.append(len(s)), interleave(s, *a, **k))[1])
    rows = results(config(batch_size="1,2", img_size="32,64"), subject(network, "a"), subject(network, "b"))
    assert [(row.img_size, row.batch_size, row.name) for row in rows] == [
        (size, batch, name) for size in (32, 64) for batch in (1, 2) for name in "ab"
    ]
    assert sides == [2, 2, 2, 2]


def test_threads_are_set_and_given_back(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    eager = engines.ENGINES["torch"]
    monkeypatch.setitem(engines.ENGINES, "torch", lambda job: (seen.append(torch.get_num_threads()), eager(job))[1])
    result = run_bench(config(threads=before + 1), [subject(network)]).result
    assert seen == [before + 1]
    assert result.machine.torch_threads == before + 1
    assert torch.get_num_threads() == before


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
    prepared = engines.ENGINES[engine](job_of(network, path, batch_size=2))
    prepared.parts["inference"]()
    if prepared.profile is not None:
        assert {operation.kind for operation in prepared.profile()[0].operations} == {"Cast", "ReduceMean"}


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


def test_timm_is_fused_its_way_and_the_baseline() -> None:
    ours = create_model("t8")
    row, peer = results(config(iterations=6), subject(ours), timm_peer("t8"))
    assert (peer.name, peer.peer, peer.engine, peer.fuse) == ("timm fastvit_t8", "timm", "torch", "branches")
    branches = reparameterize(ours)
    assert peer.params == sum(p.numel() for p in branches.parameters())
    assert row.ratio is not None
    assert row.baseline == peer.baseline == peer.label
    assert row.ratio.low is not None
    assert peer.ratio is None


def test_training_is_timed_in_parts(network: FastViT) -> None:
    rows = results(config(train=True, iterations=3, batch_size="4"), subject(network))
    assert [row.part for row in rows] == ["forward", "backward", "optimizer", "step"]
    parts = [row.median_ms or 0.0 for row in rows]
    assert all(0 < part < parts[3] for part in parts[:3])
    forward = rows[0].multiply_adds
    assert forward is not None
    assert [row.multiply_adds for row in rows] == [forward, 2 * forward, None, 3 * forward]
    assert {row.fuse for row in rows} == {"unfused"}
    (refused,) = results(config(train=True, channels_last=True, batch_size="4"), subject(network))
    assert_only_error(refused, "crashes torch")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has …"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        MemoryError(),
    ],
)
def test_out_of_memory_is_a_row_and_the_others_go_on(network: FastViT, error: Exception) -> None:
    large, small = results(config(), subject(failing(network, error), "large"), subject(network, "small"))
    assert_only_error(large, "out of memory")
    assert large.error == "out of memory"
    assert (large.img_size, large.batch_size) == (64, 1)
    assert small.error is None
    assert small.median_ms is not None


def test_a_batch_beyond_memory_is_a_row_and_the_sweep_goes_on(network: FastViT) -> None:
    beyond, fitting = results(config(batch_size="100000000000,1"), subject(network))
    assert beyond.error == "out of memory"
    assert fitting.error is None


def test_another_failure_of_the_device_is_a_row_of_one_line(network: FastViT) -> None:
    error = NotImplementedError("The operator 'aten::x' is not implemented for MPS\nPlease open an issue")
    (row,) = results(config(), subject(failing(network, error)))
    assert_only_error(row, "NotImplementedError: The operator 'aten::x' is not implemented for MPS")


def test_an_engine_that_is_not_installed_is_a_row(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines._LIBRARIES, "openvino", "no_such_library_here")
    missing, there = results(config(engine=("openvino", "torch")), subject(network))
    assert_only_error(missing, "no_such_library_here is not installed: pip install no_such_library_here")
    assert there.error is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a bug of ours")])
def test_interrupts_and_bugs_are_no_rows(network: FastViT, error: BaseException) -> None:
    with pytest.raises(type(error)):
        results(config(), subject(failing(network, error)))


def test_a_subject_that_could_not_be_loaded_is_a_row(network: FastViT) -> None:
    missing = Subject(name="lost.safetensors", error="There is no file 'lost.safetensors'.")
    lost, found = results(config(img_size=None), missing, subject(network))
    assert_only_error(lost, "There is no file 'lost.safetensors'.")
    assert lost.img_size is None
    assert found.error is None


def test_fused_weights_cannot_be_timed_less_fused(network: FastViT) -> None:
    fused, folded = subject(reparameterize(network)), subject(fuse_all(network))
    assert_only_error(results(config(fuse=("unfused",)), fused)[0], "fused already (branches)")
    assert_only_error(results(config(fuse=("branches",)), folded)[0], "fused already (all)")
    assert results(config(fuse=("branches",)), fused)[0].fuse == "branches"


def refused(options: BenchConfig, *subjects: Subject) -> FastViTError:
    """The error that ends it before any work."""
    events: list[BenchEvent] = []
    with pytest.raises(FastViTError) as caught:
        run_bench(options, subjects, events.append)
    assert caught.value.exit_code == EXIT_USAGE
    assert events == []
    return caught.value


def test_what_cannot_be_stops_before_any_work(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    one = subject(failing(network, AssertionError()))
    assert "cpu" in refused(config(device="tpu"), one).hint
    assert "Mac" in refused(config(engine=("torch", "coreml")), one).message
    package = Subject(name="t8.mlpackage", path=Path("t8.mlpackage"), info=one.info)
    assert "'t8.mlpackage'" in refused(config(), package).message
    wrong = refused(config(baseline="tmm"), one, timm_peer("t8"))
    assert "--baseline 'tmm'" in wrong.message
    assert "Did you mean 'timm'" in wrong.hint


@pytest.mark.parametrize(
    ("word", "bases"),
    [
        (None, [0, 0, 2, 2]),  # the first of each batch
        ("b", [1, 1, 3, 3]),
        ("batch 1", [0, 1, 0, 1]),  # the same subject of that batch
        ("torch", [0, 1, 2, 3]),  # every row is one
    ],
)
def test_the_baseline_is_the_row_most_alike(
    word: str | None, bases: list[int], network: FastViT, simulated: Simulate
) -> None:
    simulated({0: [10] * 20, 1: [20] * 20})
    rows = results(config(batch_size="1,2", baseline=word), subject(network, "a"), subject(network, "b"))
    assert [row.baseline for row in rows] == [rows[index].label for index in bases]
    for index, (row, base) in enumerate(zip(rows, bases, strict=True)):
        expected = None if index == base else (1 + index % 2) / (1 + base % 2)
        assert (row.ratio.value if row.ratio else None) == expected


def test_events_follow_every_subject_and_every_round(network: FastViT) -> None:
    events: list[BenchEvent] = []
    lost = Subject(name="lost", error="gone")
    result = run_bench(config(iterations=3), [lost, subject(network)], events.append).result
    started = [event for event in events if isinstance(event, SubjectStarted)]
    assert [(event.row.name, event.position, event.total) for event in started] == [("lost", 1, 2), ("t8", 2, 2)]
    rounds = [event for event in events if isinstance(event, RoundDone)]
    assert [(event.number, event.total, [row.name for row in event.rows]) for event in rounds] == [
        (number, 3, ["t8"]) for number in (1, 2, 3)
    ]
    assert all(event.rows[0].median_ms for event in rounds)
    measured = [event for event in events if isinstance(event, SubjectMeasured)]
    assert [event.rows[0].name for event in measured] == [row.name for row in result.results]


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


def test_core_ml_packages_that_take_tensors(network: FastViT, core_ml: list[str]) -> None:
    package = replace(job_of(network, Path("tensor.mlpackage"), batch_size=2), compute_units="cpu_only")
    engines.ENGINES["coreml"](package).parts["inference"]()
    assert core_ml == ["compile .mlmodelc", "load .mlmodelc CPU_ONLY"]
    with pytest.raises(FastViTError, match="takes 2 images at a time"):
        engines.ENGINES["coreml"](replace(package, images=package.images[:1]))
