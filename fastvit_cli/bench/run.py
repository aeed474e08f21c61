"""Timing networks: every subject in every way, side by side, one row each, and no failure that stops the others."""

import copy
import gc
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from fastvit_cli.bench import timer
from fastvit_cli.bench.baseline import baseline_rows
from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.bench.converter import Converter, PackageWriter
from fastvit_cli.bench.events import (
    INFERENCE,
    BenchEvent,
    BenchResult,
    BenchRow,
    BenchRun,
    ProfileStarted,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.bench.jobs import info_of, job_of, shape_of
from fastvit_cli.bench.machine import describe_machine, load_average
from fastvit_cli.bench.memory import watch_peak_memory
from fastvit_cli.bench.peak import matmul_peak
from fastvit_cli.bench.rows import WHOLE_STEP, so_far, whole_step, with_figures, with_peak_shares, with_ratios
from fastvit_cli.bench.subjects import Case, Subject, blocks, check_engines
from fastvit_cli.bench.timer import Limits, Samples, Timed, WarmUp
from fastvit_cli.bench.training_step import bind_training
from fastvit_cli.bench.warnings import busy_warnings, row_warnings, speed_warnings
from fastvit_cli.checkpoints.metadata import OTHER_VARIANT
from fastvit_cli.devices import is_out_of_memory, peak_memory_mb, use_device
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import PYTORCH
from fastvit_cli.models.cost import network_cost
from fastvit_cli.runtimes.bound import Bind, Bound, Job, bind_of, size_bytes
from fastvit_cli.runtimes.profile import Profile

# A subject takes no longer than this, or than twice the --min-seconds that were asked for: ma36 at a large batch
# on a CPU would need half an hour for its fifty steps.
MAX_SECONDS = 60.0
_CPU = torch.device("cpu")

OnEvent = Callable[[BenchEvent], None]


@dataclass
class _Entry:
    """A case on its way to its rows: what is known, then what runs, then what it took."""

    case: Case
    row: BenchRow
    bound: Bound | None = None
    warmth: WarmUp | None = None
    samples: Samples | None = None
    rows: list[BenchRow] = field(default_factory=list)


def run_bench(
    config: BenchConfig,
    subjects: Sequence[Subject],
    on_event: OnEvent = lambda _: None,
    write_package: PackageWriter | None = None,
) -> BenchRun:
    """Time every subject in every way of the config; those of one batch and image size round by round.

    A subject that cannot be loaded, fused or run, or needs more memory than there is, becomes a row with its
    reason, and the others go on.

    Args:
        write_package: for the coreml engine.

    Raises:
        FastViTError: no such device, Core ML away from a Mac, or a baseline that no row has; before any work.
    """
    device = use_device(config.device)
    check_engines(config, subjects, sys.platform)
    every = [[_Entry(case, _row(config, case, device)) for case in block] for block in blocks(config, subjects)]
    baselines = iter(baseline_rows([entry.row for block in every for entry in block], config.baseline))
    machine = describe_machine()
    busy = busy_warnings(machine, load_average())  # before the timed work makes the machine busy itself
    with _threads(config.threads), tempfile.TemporaryDirectory(prefix="fastvit-bench-") as folder:
        machine = replace(machine, torch_threads=torch.get_num_threads())
        peaks = _peaks(device, {entry.case.dtype for block in every for entry in block})
        convert = Converter(write_package, Path(folder))
        profiles: list[tuple[Profile, str | None]] = []
        counter, total = itertools.count(1), sum(map(len, every))
        for block in every:
            groups = dict(enumerate(itertools.islice(baselines, len(block))))
            _time_block(config, block, groups, device, convert, on_event, counter, total)
            if config.profile:
                profiles += _profiles(block, on_event)
            for entry in block:  # the next block needs the memory
                entry.bound = None
            gc.collect()
        slower = speed_warnings(peaks.get(("cpu", "float32")), matmul_peak(_CPU, torch.float32))
    entries = [entry for block in every for entry in block]
    rows = with_ratios(with_peak_shares([row for entry in entries for row in entry.rows], peaks), config.baseline)
    result = BenchResult(
        machine=machine,
        results=tuple(rows),
        warnings=(*busy, *slower, *row_warnings(rows, config.iterations)),
        peak_flops={f"{place} {dtype}": value for (place, dtype), value in peaks.items()},
        profiles=tuple(profile for profile, _ in profiles),
    )
    samples = tuple(rounds for entry in entries for rounds in _rounds_of_rows(entry))
    return BenchRun(result, samples, tuple(trace or "" for _, trace in profiles))


def _row(config: BenchConfig, case: Case, device: torch.device) -> BenchRow:
    subject = case.subject
    return BenchRow(
        name=subject.name,
        engine=case.engine,
        device=str(device),
        batch_size=case.batch_size,
        img_size=case.img_size if subject.info is None else info_of(case).preprocessing.img_size,
        fuse=case.fuse,
        dtype=case.dtype,
        part=WHOLE_STEP if config.train else INFERENCE,
        peer=subject.peer,
        variant=None if subject.info is None else subject.info.variant,
        channels_last=config.channels_last and case.engine in PYTORCH,
        compute_units=case.compute_units,
        top1=subject.top1,
        top1_source=subject.top1_source,
        top1_data=subject.top1_data,
        error=subject.error,
    )


def _time_block(
    config: BenchConfig,
    block: list[_Entry],
    groups: Mapping[int, int],
    device: torch.device,
    convert: Converter,
    on_event: OnEvent,
    counter: Iterator[int],
    total: int,
) -> None:
    """Load and warm up all, then time all, round by round; those of one group next to each other."""
    limits = Limits(config.iterations, config.min_seconds, max(MAX_SECONDS, 2 * config.min_seconds))
    with torch.inference_mode(not config.train):
        for entry in block:
            on_event(SubjectStarted(entry.row, next(counter), total))
            _prepare(config, entry, device, convert, limits)
        ready = {
            index: (_timed(entry.bound), entry.warmth)
            for index, entry in enumerate(block)
            if entry.bound is not None and entry.warmth is not None
        }

        def on_round(number: int, taken: Mapping[int, Samples]) -> None:
            rows = [so_far(block[index].row, samples) for index, samples in taken.items()]
            on_event(RoundDone(tuple(rows), number, limits.rounds))

        taken = timer.interleave(ready, limits, groups=groups, seed=config.seed, on_round=on_round)
    for index, outcome in taken.items():
        if isinstance(outcome, Exception):
            block[index].row = _failed(block[index].row, outcome)
        else:
            block[index].samples = outcome
    for entry in block:
        entry.rows = _rows_of(entry)
        on_event(SubjectMeasured(tuple(entry.rows)))


def _timed(bound: Bound) -> Timed:
    return Timed(bound.parts, bound.synchronize, bound.failures)


def _prepare(config: BenchConfig, entry: _Entry, device: torch.device, convert: Converter, limits: Limits) -> None:
    """Make it runnable and warm, or its row one with the reason."""
    if entry.row.error is not None:
        return
    try:
        bind = bind_training if config.train else bind_of(entry.case.engine)
        job = job_of(config, entry.case, entry.row.label, device)
        if job.info.variant != OTHER_VARIANT:
            entry.row = _with_cost(entry, job)
        converted = convert(entry.case, job)
        if converted is not None:
            job = replace(job, path=converted, network=None)  # the library makes its own copy of the weights
        _run_up(entry, job, bind, limits)
    except _failures_of(entry) as error:  # RuntimeError is torch's, OSError a full disk
        failure = error.with_traceback(None)  # which holds the tensors of the failed step
    else:
        return
    entry.bound, entry.row = None, _failed(entry.row, failure)


def _with_cost(entry: _Entry, job: Job) -> BenchRow:
    """On shapes alone: a real run here would warm up what is to be timed."""
    shape = shape_of(job.info, entry.case.fuse) if job.network is None else copy.deepcopy(job.network).to("meta")
    cost = network_cost(shape, job.info.preprocessing.img_size)
    return replace(entry.row, params=cost.params, multiply_adds=cost.multiply_adds * entry.case.batch_size)


def _failures_of(entry: _Entry) -> tuple[type[Exception], ...]:
    return (FastViTError, *(entry.bound.failures if entry.bound else (MemoryError, RuntimeError, OSError)))


def _run_up(entry: _Entry, job: Job, bind: Bind, limits: Limits) -> None:
    # Weights that lie where they will be used are held already.
    held = size_bytes(job.network) / 2**20 if job.network is not None and job.device.type == "cpu" else 0.0
    peak = watch_peak_memory(job.device)
    bound = entry.bound = bind(job)
    warmth = entry.warmth = timer.warm_up(_timed(bound), limits)
    added = peak()
    entry.row = replace(
        entry.row,
        device=bound.device,
        peak_memory_mb=None if added is None else added + held,
        process_memory_mb=peak_memory_mb(_CPU),
        warmup_steps=warmth.steps,
        size_bytes=bound.size_bytes,
        load_ms=bound.load_ns / 1e6,
        compile_ms=None if bound.compile_ns is None else bound.compile_ns / 1e6,
        first_ms=warmth.first_ns / 1e6,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _peaks(device: torch.device, dtypes: set[str]) -> dict[tuple[str, str], float]:
    """FLOP/s of matrix products on the device and on the CPU, by place and type."""
    wanted = [(device, dtype) for dtype in sorted(dtypes)] + [(_CPU, "float32")]
    found = {(str(place), dtype): matmul_peak(place, getattr(torch, dtype)) for place, dtype in dict.fromkeys(wanted)}
    return {key: value for key, value in found.items() if value is not None}


def _rows_of(entry: _Entry) -> list[BenchRow]:
    """One row, or in training one for each part and one for the whole step."""
    if entry.samples is None or entry.bound is None:
        return [entry.row]
    names = _part_names(entry)
    return [
        with_figures(replace(entry.row, part=name), rounds)
        for name, rounds in zip(names, _rounds_of_rows(entry), strict=True)
    ]


def _part_names(entry: _Entry) -> list[str]:
    assert entry.samples is not None
    if len(entry.samples.parts) == 1:
        return [entry.row.part]
    return ["forward", "backward", "optimizer", WHOLE_STEP]


def _rounds_of_rows(entry: _Entry) -> list[tuple[tuple[int, ...], ...]]:
    """Nanoseconds of each part, by round; of several parts their sum as well."""
    if entry.samples is None:
        return [()]
    parts = entry.samples.parts
    return [parts[0]] if len(parts) == 1 else [*parts, whole_step(entry.samples)]


def _profiles(block: list[_Entry], on_event: OnEvent) -> Iterator[tuple[Profile, str | None]]:
    for entry in block:
        if entry.samples is None or entry.bound is None or entry.bound.profile is None:
            continue
        on_event(ProfileStarted(entry.row.label))
        yield entry.bound.profile()


def _failed(row: BenchRow, error: Exception) -> BenchRow:
    return replace(row, error=_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, FastViTError):
        return error.message
    text = str(error).strip()
    if is_out_of_memory(error):
        return "out of memory"
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
