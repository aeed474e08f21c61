"""What a benchmark says: a row a subject and engine, all of them together, and the events on the way."""

from dataclasses import dataclass

from fastvit_cli.bench.machine import Machine


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One subject on one engine. What was measured is None when `error` is not.

    Attributes:
        device: where it ran, such as cpu or cuda:0.
        img_size: side of the square input in pixels; None when the subject could not be loaded and none was asked.
        median_ms, p90_ms, p99_ms, mean_ms: of one step, in milliseconds. The batch already lies on the device and the
            logits stay there: copying is not part of it.
        images_per_second: batch_size over the median.
        peak_memory_mb: in MiB while preparing and timing, see `memory.watch_peak_memory`; None where unknown.
        samples: timed steps behind the figures.
        params: trainable parameters of the form that was timed.
        fuse: the form that was timed (models.network.Form).
        error: why there are no figures, one line.
    """

    name: str
    engine: str
    device: str
    batch_size: int
    img_size: int | None
    median_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    samples: int | None = None
    params: int | None = None
    fuse: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class BenchResult:
    """All rows, the machine they hold for, and what makes them doubtful."""

    machine: Machine
    results: tuple[BenchRow, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SubjectStarted:
    """A subject is about to be timed; `position` of `total`, from 1."""

    name: str
    engine: str
    position: int
    total: int


@dataclass(frozen=True)
class SubjectMeasured:
    """A subject is done, with figures or an error; `position` of `total`, from 1."""

    row: BenchRow
    position: int
    total: int


BenchEvent = SubjectStarted | SubjectMeasured
