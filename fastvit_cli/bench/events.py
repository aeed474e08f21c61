"""What a benchmark says: a row a measurement, all of them together, and the events on the way."""

from dataclasses import dataclass, field

from fastvit_cli.bench.machine import Machine
from fastvit_cli.bench.statistics import Ratio
from fastvit_cli.runtimes.profile import Profile

INFERENCE = "inference"


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One subject on one engine. What was measured is None when `error` is not.

    Attributes:
        peer: library whose own network it is, such as timm; None for ours.
        device: where it ran, such as cpu or cuda:0.
        img_size: side of the square input in pixels; None when the subject could not be loaded and none was asked.
        fuse: the form (models.network.Form).
        part: of a step: inference; in training forward (with the loss), backward, optimizer, and step for all three.
        compute_units: of Core ML.
        median_ms, p90_ms, …: of one step; see `statistics.Summary`. The batch already lies on the device and the
            logits stay there: copying is not part of it.
        images_per_second: batch_size over the median.
        peak_memory_mb: MiB that loading and running it added, see `memory.watch_peak_memory`; None where unknown.
        process_memory_mb: peak of the whole process meanwhile, with every model it holds.
        warmup_steps: steps before the timed ones.
        params: parameters of the form that was timed.
        multiply_adds: of convolutions, linear layers and attention, for the whole batch.
        size_bytes: of parameters and buffers as they are run; of a file, its size.
        load_ms: from weights in memory, or the file, to something that can run.
        compile_ms: of Core ML, which compiles a package before it can be loaded.
        first_ms: of the first step, which compiles and allocates.
        flops: floating-point operations a second, a multiply-add being two.
        peak_share: of the fastest matrix product that PyTorch does here in the same type; None of other libraries.
        ratio: of its time to that of the row called `baseline`.
        top1: ImageNet top-1 in percent, or that of its own data when it was measured.
        top1_source: published or measured.
        top1_data: what it was measured on, as `--data` takes it; None where it was published or no file says.
        error: why there are no figures, one line.
    """

    name: str
    engine: str
    device: str
    batch_size: int
    img_size: int | None
    fuse: str
    dtype: str
    part: str = INFERENCE
    peer: str | None = None
    variant: str | None = None
    channels_last: bool = False
    compute_units: str | None = None
    median_ms: float | None = None
    interval_ms: tuple[float, float] | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    trimmed_mean_ms: float | None = None
    round_medians_ms: tuple[float, ...] = ()
    samples: int | None = None
    warmup_steps: int | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    process_memory_mb: float | None = None
    params: int | None = None
    multiply_adds: int | None = None
    size_bytes: int | None = None
    load_ms: float | None = None
    compile_ms: float | None = None
    first_ms: float | None = None
    flops: float | None = None
    peak_share: float | None = None
    baseline: str | None = None
    ratio: Ratio | None = None
    top1: float | None = None
    top1_source: str | None = None
    top1_data: str | None = None
    error: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What tells it from other rows, most telling first."""
        words = [self.name, self.engine, self.fuse, self.dtype, f"batch {self.batch_size}"]
        words += [] if self.img_size is None else [f"{self.img_size} px"]
        words += [] if self.part == INFERENCE else [self.part]
        words += ["channels last"] if self.channels_last else []
        words += [self.compute_units] if self.compute_units else []
        return tuple(words)

    @property
    def label(self) -> str:
        """All of them in one line."""
        return ", ".join(self.words)


@dataclass(frozen=True)
class ComparedRow:
    """A row beside the same one of an earlier run; `ratio` is new over old, None where one of them has no figures.

    Attributes:
        verdict: slower or faster where the interval leaves out 1; same; new (not in the old run); unmeasured.
        beyond_tolerance: slower by more than was allowed.
    """

    label: str
    old_ms: float | None
    new_ms: float | None
    ratio: Ratio | None
    verdict: str
    beyond_tolerance: bool


@dataclass(frozen=True)
class Comparison:
    """All rows against an earlier run.

    Attributes:
        old: the file.
        old_date: when that was.
        differences: what the machines or libraries differ in, one line each.
        missing: labels of rows that only the old run has.
    """

    old: str
    old_date: str
    tolerance: float
    differences: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    missing: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not any(row.beyond_tolerance for row in self.rows)


@dataclass(frozen=True)
class BenchResult:
    """All rows, the machine they hold for, and what makes them doubtful.

    Attributes:
        peak_flops: of the fastest matrix product, by type.
    """

    machine: Machine
    results: tuple[BenchRow, ...]
    warnings: tuple[str, ...]
    peak_flops: dict[str, float] = field(default_factory=dict)
    profiles: tuple[Profile, ...] = ()
    comparison: Comparison | None = None


@dataclass(frozen=True)
class BenchRun:
    """The result, and what is too long for it.

    Attributes:
        samples: nanoseconds of every timed step, by round, of each row of the result; () of a row with an error.
        traces: a Chrome trace (JSON text) of each profile of the result.
    """

    result: BenchResult
    samples: tuple[tuple[tuple[int, ...], ...], ...]
    traces: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubjectStarted:
    """A subject is about to be loaded and warmed up; `position` of `total`, from 1."""

    row: BenchRow
    position: int
    total: int


@dataclass(frozen=True)
class RoundDone:
    """A round of timing is over; `rows` have the medians so far."""

    rows: tuple[BenchRow, ...]
    number: int
    total: int


@dataclass(frozen=True)
class SubjectMeasured:
    """The rows of a subject are final, with figures or an error."""

    rows: tuple[BenchRow, ...]


@dataclass(frozen=True)
class ProfileStarted:
    """A subject is about to be profiled."""

    label: str


BenchEvent = SubjectStarted | RoundDone | SubjectMeasured | ProfileStarted
