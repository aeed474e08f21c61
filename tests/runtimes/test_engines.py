"""Which engine is chosen, and that every one gives the network's numbers."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest
import torch
from helpers.evaluation_models import Colours
from helpers.loaded import SIZE, loaded_model, pixels
from torch import Tensor

from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.evaluation.evaluate import SplitWhenOutOfMemory
from fastvit_cli.runtimes import engines
from fastvit_cli.runtimes.compiled_runtime import CompiledRuntime
from fastvit_cli.runtimes.engines import with_engine
from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def opened() -> TorchRuntime:
    loaded = loaded_model("t8")
    return TorchRuntime(loaded.network, loaded.info, CPU)


def test_few_images_run_folded_in_pytorch(opened: TorchRuntime) -> None:
    chosen = with_engine(opened, "auto", SIZE, 10)
    assert (chosen.runtime.engine, chosen.own_form) == ("torch", False)
    assert chosen.reason == "all folded, while the file is unfused; the same numbers, faster"
    assert chosen.runtime.info.form == "all"
    torch.testing.assert_close(chosen.runtime.logits(pixels(3)), opened.logits(pixels(3)), rtol=0, atol=2e-6)
    assert opened.info.form == "unfused", "the opened model stays as it was"


def test_torch_is_the_file_as_it_is(opened: TorchRuntime) -> None:
    chosen = with_engine(opened, "torch", SIZE, 10**9)
    assert chosen.runtime is opened
    assert chosen.own_form


def test_many_images_repay_a_conversion(opened: TorchRuntime) -> None:
    chosen = with_engine(opened, "auto", SIZE, 10**6)
    assert chosen.runtime.engine == "onnxruntime"
    assert "converted to ONNX in memory, all folded" in chosen.reason
    assert chosen.reason.endswith("so many images repay the conversion")
    torch.testing.assert_close(chosen.runtime.logits(pixels(3)), opened.logits(pixels(3)), rtol=0, atol=2e-5)


def test_the_threshold_is_about_work(opened: TorchRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 1,500 images of t8 at 256 px: sixteen times as many at 64 px, none on a GPU or without ONNX Runtime."""
    monkeypatch.setattr("fastvit_cli.models.fusion.fuse_all", lambda network: network)
    monkeypatch.setattr("fastvit_cli.runtimes.onnx_conversion.to_onnx", lambda *_: _Graph())
    monkeypatch.setattr("fastvit_cli.runtimes.onnx_runtime.OnnxRuntime", lambda *_: Colours())
    engines_of = [
        with_engine(opened, "auto", size, count).runtime.engine
        for size, count in ((256, 1000), (256, 2000), (64, 2000), (64, 32000))
    ]
    assert engines_of == ["torch", "colours", "torch", "colours"]
    monkeypatch.setattr(engines, "_has_onnxruntime", lambda: False)
    assert with_engine(opened, "auto", 256, 2000).runtime.engine == "torch"


class _Graph:
    def SerializeToString(self) -> bytes:
        return b""


def test_exported_files_have_one_engine(opened: TorchRuntime) -> None:
    file = Colours()
    assert with_engine(file, "auto", SIZE, 10**9).runtime is file
    assert with_engine(file, "colours", SIZE, 1).own_form
    with pytest.raises(FastViTError, match="runs on colours cannot run on torch") as refused:
        with_engine(file, "torch", SIZE, 1)
    assert "--engine colours" not in refused.value.hint, "which the parser may not know"
    assert refused.value.hint.startswith("Leave --engine out")
    file.engine = "coreml-emulated"
    assert "an emulation of Core ML" in with_engine(file, "coreml", SIZE, 1).reason
    with pytest.raises(FastViTError, match="cannot run on coreml") as error:
        with_engine(opened, "coreml", SIZE, 1)
    assert "--format coreml" in error.value.hint


def test_compiled_batches_have_one_size(opened: TorchRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself takes half a minute; here it leaves the network as it is."""
    seen: list[int] = []

    def compile_nothing(network: Any, options: Any) -> Any:  # noqa: ARG001 - torch's signature
        return lambda batch: (seen.append(len(batch)), network(batch))[1]

    monkeypatch.setattr(torch, "compile", compile_nothing)
    runtime = with_engine(opened, "compile", SIZE, 10).runtime
    assert isinstance(runtime, CompiledRuntime)
    images = pixels(5)
    found = torch.cat([runtime.logits(images[:3]), runtime.logits(images[3:])])
    torch.testing.assert_close(found, opened.logits(images), rtol=0, atol=2e-6)
    assert seen == [3, 3]


def test_a_compiled_batch_beyond_memory_is_tried_in_parts(
    opened: TorchRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def compile_for_two(network: Any, options: Any) -> Any:  # noqa: ARG001 - torch's signature
        def run(batch: Tensor) -> Tensor:
            tried.append(len(batch))
            if len(batch) > 2:
                raise torch.OutOfMemoryError
            logits: Tensor = network(batch)
            return logits

        return run

    monkeypatch.setattr(torch, "compile", compile_for_two)
    images = pixels(7)
    found = SplitWhenOutOfMemory(with_engine(opened, "compile", SIZE, 10).runtime)(images)
    torch.testing.assert_close(found, opened.logits(images), rtol=0, atol=2e-6)
    assert tried == [7, 3, *[1] * 7]


@pytest.mark.parametrize(("variable", "threads"), [(None, 0), ("1", 1)])
def test_onnx_runtime_keeps_to_the_threads_of_its_process(
    variable: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(_model: Any, options: Any, **_: Any) -> None:
        asked.append(options.intra_op_num_threads)
        raise RuntimeError("no graph")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    with pytest.raises(FastViTError, match="no graph"):
        OnnxRuntime(b"", CPU)
    assert asked == [threads], "0 is the library's own choice"


def test_without_a_compiler(opened: TorchRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(WorkFailedError, match="cannot compile") as error:
        with_engine(opened, "compile", SIZE, 10).runtime.logits(pixels(1))
    assert "--engine torch" in error.value.hint
