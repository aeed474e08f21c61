"""The timer: warm-up until it is warm, every step waited for, nothing but the step between two clock reads."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

# A window of the warm-up lasts at least this many steps and this long: a GPU's fast steps need hundreds before
# clocks and caches settle, a CPU's slow ones only a few.
_WINDOW_STEPS = 5
_WINDOW_NS = 100_000_000
_STILL_FALLING = 0.98  # warm once a window's median is no longer below this share of the one before
_WARMUP_SHARE = 1 / 3  # of max_seconds, at most


@dataclass(frozen=True)
class Samples:
    """Durations of the timed steps, in the order they were taken.

    Attributes:
        nanoseconds: one a step; never empty.
        warmup_steps: steps that ran before and were not counted.
    """

    nanoseconds: tuple[int, ...]
    warmup_steps: int

    @property
    def median_ms(self) -> float:
        """Median in milliseconds."""
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float:
        """90th percentile in milliseconds."""
        return self.percentile_ms(90)

    @property
    def p99_ms(self) -> float:
        """99th percentile in milliseconds; close to the slowest sample below a hundred samples."""
        return self.percentile_ms(99)

    @property
    def mean_ms(self) -> float:
        """Mean in milliseconds."""
        return statistics.fmean(self.nanoseconds) / 1e6

    def percentile_ms(self, percent: float) -> float:
        """Percentile (0 to 100) in milliseconds, interpolated linearly between neighbouring samples."""
        ordered = sorted(self.nanoseconds)
        position = percent / 100 * (len(ordered) - 1)
        below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
        return (below + (above - below) * (position % 1)) / 1e6


def measure(
    step: Callable[[], object],
    synchronize: Callable[[], None],
    *,
    iterations: int,
    min_seconds: float,
    max_seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Samples:
    """Time `step` once it runs steadily.

    Steps are taken uncounted until they no longer get faster, then timed until there are `iterations` samples
    and `min_seconds` have passed. A sample is `clock(); step(); synchronize(); clock()`. Python's garbage
    collector is off meanwhile. Errors of `step` and `synchronize` pass through.

    Args:
        step: does the work, or only queues it on a device.
        synchronize: waits until everything queued is done.
        max_seconds: ends warm-up and timing together, even with fewer samples; the step then running is
            finished, and there is always one sample.
        clock: nanoseconds from any origin, never running backwards.
    """

    def take_sample() -> tuple[int, int]:
        start = clock()
        step()
        synchronize()
        end = clock()
        return end - start, end

    gc.collect()
    gc_was_enabled = gc.isenabled()
    gc.disable()
    try:
        begin = clock()
        warmup_steps = _warm_up(take_sample, deadline=begin + int(max_seconds * _WARMUP_SHARE * 1e9))
        samples = []
        timed_from = clock()
        while True:
            duration, now = take_sample()
            samples.append(duration)
            enough = len(samples) >= iterations and now - timed_from >= min_seconds * 1e9
            if enough or now - begin >= max_seconds * 1e9:
                return Samples(tuple(samples), warmup_steps)
    finally:
        if gc_was_enabled:
            gc.enable()


def _warm_up(take_sample: Callable[[], tuple[int, int]], deadline: int) -> int:
    """Take steps until their median stops falling or the deadline (on the clock, in ns) is over; how many."""
    steps = 0
    previous = math.inf
    while True:
        window: list[int] = []
        length = 0
        while len(window) < _WINDOW_STEPS or length < _WINDOW_NS:
            duration, now = take_sample()
            window.append(duration)
            length += duration
            steps += 1
            if now >= deadline:
                return steps
        median = statistics.median(window)
        if median >= previous * _STILL_FALLING:
            return steps
        previous = median
