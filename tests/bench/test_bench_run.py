"""Timing real small networks: true rows, failures that become rows, and warnings."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvit_cli.bench import run, timer
from fastvit_cli.bench.config import BenchConfig
from fastvit_cli.bench.events import BenchEvent, BenchRow, SubjectMeasured, SubjectStarted
from fastvit_cli.bench.machine import describe_machine
from fastvit_cli.bench.run import Subject, run_bench
from fastvit_cli.bench.timer import Samples
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import EXIT_USAGE, FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing

MEASURED = ("median_ms", "p90_ms", "p99_ms", "mean_ms", "images_per_second", "samples", "params", "fuse")


def config(**options: Any) -> BenchConfig:
    return BenchConfig(**{"device": "cpu", "iterations": 2, "min_seconds": 0.0, "img_size": 64, **options})


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps a window, however short: nothing here looks at how long anything took."""
    monkeypatch.setattr(timer, "_WINDOW_NS", 0)


@pytest.fixture(scope="module")
def network() -> FastViT:
    return create_model("t8", num_classes=5)


def info_of(network: FastViT) -> ModelInfo:
    return ModelInfo("t8", network.form, network.num_classes, Preprocessing(img_size=96))


def subject(network: FastViT, name: str = "t8") -> Subject:
    return Subject(name=name, network=network, info=info_of(network))


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Replace the timer by one that takes a single step and reports the given durations."""

    def replace_timer(nanoseconds: list[int]) -> None:
        def measure(step: Callable[[], object], synchronize: Callable[[], None], **_: Any) -> Samples:
            step()
            synchronize()
            return Samples(tuple(nanoseconds), warmup_steps=1)

        monkeypatch.setattr(run, "measure", measure)

    return replace_timer


def failing(network: FastViT, error: BaseException) -> FastViT:
    broken = copy.deepcopy(network)

    def fail(*_: object) -> None:
        raise error

    broken.stem.register_forward_pre_hook(fail)
    return broken


def assert_only_error(row: BenchRow, error: str) -> None:
    assert row.error is not None
    assert error in row.error
    assert "\n" not in row.error
    assert [getattr(row, name) for name in (*MEASURED, "peak_memory_mb")] == [None] * 9


def test_a_real_measurement_fills_the_row(network: FastViT) -> None:
    before = copy.deepcopy(network.state_dict())
    result = run_bench(config(batch_size=2), [subject(network)])
    (row,) = result.results
    assert (row.name, row.engine, row.device, row.batch_size, row.img_size) == ("t8", "torch", "cpu", 2, 64)
    assert row.error is None
    assert row.fuse == "all"
    assert row.samples == 2
    assert row.params == sum(p.numel() for p in fuse_all(network).parameters())
    assert row.median_ms is not None
    assert row.p90_ms is not None
    assert row.p99_ms is not None
    assert 0 < row.median_ms <= row.p90_ms <= row.p99_ms
    assert row.images_per_second == pytest.approx(2 / (row.median_ms / 1e3))
    assert result.machine.torch == torch.__version__
    # The subject is left as it came.
    assert network.training
    assert network.form == "unfused"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_runs_is_the_form_the_size_and_the_batch_that_were_asked_for(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    instant([1_000_000])
    seen: list[tuple[str, bool, bool, tuple[int, ...]]] = []
    forward = FastViT.forward

    def spy(self: FastViT, x: Tensor) -> Tensor:
        seen.append((self.form, self.training, torch.is_inference_mode_enabled(), tuple(x.shape)))
        return forward(self, x)

    monkeypatch.setattr(FastViT, "forward", spy)
    for form in ("unfused", "branches", "all"):
        (row,) = run_bench(config(fuse=form, batch_size=3), [subject(network)]).results
        assert (row.fuse, row.error) == (form, None)
    assert seen == [(form, False, True, (3, 3, 64, 64)) for form in ("unfused", "branches", "all")]
    assert network.training  # a copy was timed, also when nothing was fused
    (row,) = run_bench(config(img_size=None), [subject(network)]).results
    assert row.img_size == 96
    assert seen[-1][-1] == (1, 3, 96, 96)


def test_images_follow_the_seed(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    instant([1_000_000])
    seen: list[Tensor] = []

    def keep(_network: FastViT, _info: ModelInfo, _device: torch.device, images: Tensor) -> Callable[[], None]:
        seen.append(images)
        return lambda: None

    monkeypatch.setitem(run._STEPS, "torch", keep)
    for seed in (0, 0, 1):
        run_bench(config(seed=seed), [subject(network)])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_device_is_waited_for(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(run, "synchronize", waited.append)
    (row,) = run_bench(config(), [subject(network)]).results
    assert row.samples is not None
    assert len(waited) > row.samples
    assert set(waited) == {torch.device("cpu")}


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
    result = run_bench(config(), [subject(failing(network, error), "large"), subject(network, "small")])
    large, small = result.results
    assert_only_error(large, "out of memory")
    assert large.error == "out of memory"
    assert (large.img_size, large.batch_size) == (64, 1)
    assert small.error is None
    assert small.median_ms is not None


def test_a_batch_beyond_memory_is_a_row(network: FastViT) -> None:
    (row,) = run_bench(config(batch_size=10**11), [subject(network)]).results
    assert row.error == "out of memory"


def test_another_failure_of_the_device_is_a_row_of_one_line(network: FastViT) -> None:
    error = NotImplementedError("The operator 'aten::x' is not implemented for MPS\nPlease open an issue")
    (row,) = run_bench(config(), [subject(failing(network, error))]).results
    assert_only_error(row, "NotImplementedError: The operator 'aten::x' is not implemented for MPS")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a bug of ours")])
def test_interrupts_and_bugs_are_no_rows(network: FastViT, error: BaseException) -> None:
    with pytest.raises(type(error)):
        run_bench(config(), [subject(failing(network, error))])


def test_a_subject_that_could_not_be_loaded_is_a_row(network: FastViT) -> None:
    missing = Subject(name="lost.safetensors", error="There is no file 'lost.safetensors'.")
    lost, found = run_bench(config(img_size=None), [missing, subject(network)]).results
    assert_only_error(lost, "There is no file 'lost.safetensors'.")
    assert lost.img_size is None
    assert found.error is None


def test_fused_weights_cannot_be_timed_less_fused(network: FastViT) -> None:
    fused, folded = subject(reparameterize(network)), subject(fuse_all(network))
    assert_only_error(run_bench(config(fuse="unfused"), [fused]).results[0], "fused already (branches)")
    assert_only_error(run_bench(config(fuse="branches"), [folded]).results[0], "fused already (all)")
    assert run_bench(config(fuse="branches"), [fused]).results[0].fuse == "branches"


def test_unknown_device_stops_before_any_work(network: FastViT) -> None:
    events: list[BenchEvent] = []
    with pytest.raises(FastViTError) as caught:
        run_bench(config(device="tpu"), [subject(failing(network, AssertionError()))], events.append)
    assert caught.value.exit_code == EXIT_USAGE
    assert "cpu" in caught.value.hint
    assert events == []


def test_events_follow_every_subject_on_every_engine(network: FastViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run._STEPS, "other", run._STEPS["torch"])
    both = config()
    object.__setattr__(both, "engine", ("torch", "other"))  # as it will be once a second engine is in the table
    events: list[BenchEvent] = []
    result = run_bench(both, [Subject(name="lost", error="gone"), subject(network)], events.append)
    jobs = [("lost", "torch"), ("lost", "other"), ("t8", "torch"), ("t8", "other")]
    assert [(row.name, row.engine) for row in result.results] == jobs
    assert events[0::2] == [SubjectStarted(*job, position, 4) for position, job in enumerate(jobs, 1)]
    assert events[1::2] == [SubjectMeasured(row, position, 4) for position, row in enumerate(result.results, 1)]


def test_a_quiet_machine_gives_no_warning(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_average", lambda: 0.4)
    instant([10_000_000] * 9 + [12_000_000])
    assert run_bench(config(), [subject(network)]).warnings == ()


def test_a_wide_spread_is_a_warning(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_average", lambda: None)
    instant([10_000_000] * 7 + [20_000_000] * 3)
    (warning,) = run_bench(config(), [subject(network, "mine"), Subject(name="lost", error="gone")]).warnings
    assert "2.0 times for mine (torch)" in warning
    assert "run again" in warning
    assert "lost" not in warning


def test_a_busy_machine_is_a_warning(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    instant([10_000_000] * 5)
    monkeypatch.setattr(run, "describe_machine", lambda: replace(describe_machine(), logical_cores=4))
    monkeypatch.setattr(run, "load_average", lambda: 3.0)  # one of them is this program
    assert run_bench(config(), [subject(network)]).warnings == ()
    monkeypatch.setattr(run, "load_average", lambda: 3.2)
    (warning,) = run_bench(config(), [subject(network)]).warnings
    assert "3.2 on 4 cores" in warning


def test_fewer_samples_than_asked_for_is_a_warning(
    network: FastViT, instant: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_average", lambda: None)
    instant([10_000_000] * 3)
    (warning,) = run_bench(config(iterations=50), [subject(network)]).warnings
    assert "before 50 timed steps: 3 for t8 (torch)" in warning
