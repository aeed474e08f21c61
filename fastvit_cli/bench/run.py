"""Timing networks: every subject on every engine, one row each, and no failure that stops the others."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastvit_cli.bench.config import FORMS, BenchConfig
from fastvit_cli.bench.events import BenchEvent, BenchResult, BenchRow, SubjectMeasured, SubjectStarted
from fastvit_cli.bench.machine import Machine, describe_machine, load_average
from fastvit_cli.bench.memory import watch_peak_memory
from fastvit_cli.bench.timer import measure
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.devices import resolve_device, synchronize
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.torch_runtime import TorchRuntime

# A subject takes no longer than this, or than twice the --min-seconds that were asked for: ma36 at a large batch
# on a CPU would need half an hour for its fifty steps.
MAX_SECONDS = 60.0
_NOISY_SPREAD = 1.25  # p90 over median
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # CUDA and MPS; Windows; Linux

Step = Callable[[], object]
StepMaker = Callable[[FastViT, ModelInfo, torch.device, Tensor], Step]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Something to time: a network with its metadata, or the reason why there is none.

    Attributes:
        name: what its row is called.
        network: left as it is; a copy is fused, moved and timed.
        error: one line; set exactly when network and info are not.
    """

    name: str
    network: FastViT | None = None
    info: ModelInfo | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        assert (self.network is None) == (self.info is None) == (self.error is not None)


def _torch_step(network: FastViT, info: ModelInfo, device: torch.device, images: Tensor) -> Step:
    # Contiguous, as TorchRuntime runs it. channels_last was tried on two shared AVX-512 cores (all folded, 256 px,
    # one thread, batch 1 / 8, best of contiguous over best of channels_last): t8 0.80 / 1.10, sa24 0.96 / 1.05.
    runtime = TorchRuntime(network, info, device)
    images = images.to(device)
    return lambda: runtime.network(images)


_STEPS: dict[str, StepMaker] = {"torch": _torch_step}
_FUSE: dict[str, Callable[[FastViT], FastViT]] = {
    "unfused": copy.deepcopy,
    "branches": reparameterize,
    "all": fuse_all,
}


def run_bench(
    config: BenchConfig, subjects: Sequence[Subject], on_event: Callable[[BenchEvent], None] | None = None
) -> BenchResult:
    """Time every subject on every engine of the config, one after the other.

    A subject that cannot be loaded, fused or run, or needs more memory than there is, becomes a row with its
    reason, and the others go on.

    Raises:
        FastViTError: no such device; before any work.
    """
    device = resolve_device(config.device)
    machine = describe_machine()
    busy = tuple(_busy_warnings(machine))  # before the timed work makes the machine busy itself
    jobs = [(subject, engine) for subject in subjects for engine in config.engine]
    rows = []
    for position, (subject, engine) in enumerate(jobs, start=1):
        if on_event is not None:
            on_event(SubjectStarted(subject.name, engine, position, len(jobs)))
        row = _bench(config, subject, engine, device)
        rows.append(row)
        if on_event is not None:
            on_event(SubjectMeasured(row, position, len(jobs)))
    return BenchResult(machine, tuple(rows), (*busy, *_row_warnings(rows, config.iterations)))


def _bench(config: BenchConfig, subject: Subject, engine: str, device: torch.device) -> BenchRow:
    row = BenchRow(
        name=subject.name,
        engine=engine,
        device=str(device),
        batch_size=config.batch_size,
        img_size=config.img_size if subject.info is None else _img_size(config, subject.info),
        error=subject.error,
    )
    if subject.network is None or subject.info is None:
        return row
    try:
        return _measure(config, row, subject.network, subject.info, device)
    except (FastViTError, MemoryError, RuntimeError) as error:  # RuntimeError is what torch and its devices raise
        reason = _reason(error)
    # Outside the handler the traceback is gone, and with it the tensors that the failed step still held.
    return replace(row, error=reason)


def _measure(config: BenchConfig, row: BenchRow, network: FastViT, info: ModelInfo, device: torch.device) -> BenchRow:
    peak_memory_mb = watch_peak_memory(device)
    network = _in_form(network, config.fuse)
    size = _img_size(config, info)
    # Normalised images are about standard normal; the values do not change the work.
    generator = torch.Generator().manual_seed(config.seed)
    images = torch.randn((config.batch_size, 3, size, size), generator=generator)
    step = _STEPS[row.engine](network, info, device, images)
    with torch.inference_mode():
        samples = measure(
            step,
            lambda: synchronize(device),
            iterations=config.iterations,
            min_seconds=config.min_seconds,
            max_seconds=max(MAX_SECONDS, 2 * config.min_seconds),
        )
    return replace(
        row,
        median_ms=samples.median_ms,
        p90_ms=samples.p90_ms,
        p99_ms=samples.p99_ms,
        mean_ms=samples.mean_ms,
        images_per_second=config.batch_size / samples.median_ms * 1e3,
        peak_memory_mb=peak_memory_mb(),
        samples=len(samples.nanoseconds),
        params=sum(parameter.numel() for parameter in network.parameters()),
        fuse=network.form,
    )


def _img_size(config: BenchConfig, info: ModelInfo) -> int:
    return info.preprocessing.at_size(config.img_size).img_size


def _in_form(network: FastViT, form: str) -> FastViT:
    """A copy of the network, fused as far as asked.

    Raises:
        FastViTError: it is fused further than that already.
    """
    if FORMS.index(network.form) > FORMS.index(form):
        raise FastViTError(f"its weights are fused already ({network.form}): it cannot be timed as --fuse {form}")
    return _FUSE[form](network)


def _reason(error: Exception) -> str:
    if isinstance(error, FastViTError):
        return error.message
    text = str(error).strip()
    if isinstance(error, MemoryError) or any(mark in text.lower() for mark in _OUT_OF_MEMORY):
        return "out of memory"
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _busy_warnings(machine: Machine) -> Iterator[str]:
    load = load_average()
    # One of the programs that ran in the last minute is this one.
    if load is not None and load - 1 > machine.logical_cores / 2:
        yield (
            f"The machine was busy before the measurement: load average {load:.1f} on {machine.logical_cores} cores. "
            "Close other programs, wait a minute and run again."
        )


def _row_warnings(rows: Sequence[BenchRow], iterations: int) -> Iterator[str]:
    spreads = [
        f"{row.p90_ms / row.median_ms:.1f} times for {row.name} ({row.engine})"
        for row in rows
        if row.p90_ms is not None and row.median_ms and row.p90_ms / row.median_ms > _NOISY_SPREAD
    ]
    if spreads:
        yield (
            f"The machine was noisy: p90 is well above the median, {', '.join(spreads)}. "
            "Close other programs, let it cool and run again."
        )
    short = [
        f"{row.samples} for {row.name} ({row.engine})"
        for row in rows
        if row.samples is not None and row.samples < iterations
    ]
    if short:
        yield (
            f"The time limit ended the measurement before {iterations} timed steps: {', '.join(short)}. "
            "Pass a smaller --batch-size or --img-size, or a larger --min-seconds."
        )
