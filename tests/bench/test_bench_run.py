"""Timing real small networks: true rows, failures that become rows, and ratios."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.bench_runs import Simulate, assert_only_error, config, results, subject
from torch import Tensor

from fastvit_cli.bench import run, timer
from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.bench.events import (
    BenchEvent,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.bench.run import run_bench
from fastvit_cli.bench.subjects import Subject, timm_peer
from fastvit_cli.errors import EXIT_USAGE, FastViTError
from fastvit_cli.formats import ENGINES
from fastvit_cli.models.cost import network_cost
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes import torch_runtime

pytestmark = pytest.mark.usefixtures("short")


def failing(network: FastViT, error: BaseException) -> FastViT:
    broken = copy.deepcopy(network)

    def fail(*_: object) -> None:
        raise error

    broken.stem.register_forward_pre_hook(fail)
    return broken


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
    eager = torch_runtime.bind
    monkeypatch.setattr(torch_runtime, "bind", lambda job: (seen.append(job.images), eager(job))[1])
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
    eager = torch_runtime.bind
    monkeypatch.setattr(torch_runtime, "bind", lambda job: (seen.append(torch.get_num_threads()), eager(job))[1])
    result = run_bench(config(threads=before + 1), [subject(network)]).result
    assert seen == [before + 1]
    assert result.machine.torch_threads == before + 1
    assert torch.get_num_threads() == before


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


def test_a_peer_takes_the_image_sizes_of_the_networks_beside_it(network: FastViT, simulated: Simulate) -> None:
    simulated({index: [10 * (index + 1)] * 20 for index in range(4)})
    small, large = subject(network, "small"), subject(network, "large")
    assert small.info is not None
    small = replace(small, info=replace(small.info, preprocessing=Preprocessing(img_size=64)))
    rows = results(config(img_size=None), small, large, timm_peer("t8"))
    assert [(row.peer, row.img_size) for row in rows] == [(None, 64), (None, 96), ("timm", 64), ("timm", 96)]
    assert [row.baseline for row in rows] == [rows[index].label for index in (2, 3, 2, 3)]
    assert [row.img_size for row in results(config(img_size="32"), small, timm_peer("t8"), large)] == [32] * 3


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


def test_a_batch_too_small_to_train_is_a_row(network: FastViT) -> None:
    one, two = results(config(train=True, iterations=2, img_size="32", batch_size="1,2"), subject(network))[:2]
    assert_only_error(one, "Expected more than 1 value per channel")
    assert (two.batch_size, two.error) == (2, None)


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
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(ENGINES, name, replace(ENGINES[name], library="no_such_library_here"))
    extra, missing, there = results(config(engine=("openvino", "onnxruntime", "torch")), subject(network))
    assert_only_error(extra, "no_such_library_here is not installed: pip install 'fastvit[openvino]'")
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
    assert lost.label == "lost.safetensors, torch, all, float32, batch 1"
    assert found.error is None
    assert "none" not in refused(config(img_size=None, baseline="x px"), missing).hint.lower()


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
