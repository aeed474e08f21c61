"""The timer on a simulated clock: no assertion here depends on how fast this machine is."""

import gc
from collections.abc import Iterator

import pytest

from fastvit_cli.bench.timer import Samples, measure

MS = 1_000_000


class Clock:
    """A clock that moves only when told; reading it may cost time too."""

    def __init__(self, read_cost: int = 0) -> None:
        self.now = 0
        self.reads = 0
        self.read_cost = read_cost

    def __call__(self) -> int:
        self.now += self.read_cost
        self.reads += 1
        return self.now

    def work(self, durations: Iterator[int]) -> None:
        self.now += next(durations)


def steady(duration: int) -> Iterator[int]:
    while True:
        yield duration


def times(clock: Clock, durations: Iterator[int], **limits: float) -> Samples:
    """Measure steps of the given durations, in nanoseconds."""
    iterations = int(limits.pop("iterations", 20))
    limits = {"min_seconds": 0.0, "max_seconds": 60.0, **limits}
    return measure(lambda: clock.work(durations), lambda: None, iterations=iterations, clock=clock, **limits)


@pytest.fixture(autouse=True)
def gc_enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_percentiles_are_interpolated_and_in_milliseconds() -> None:
    samples = Samples(tuple(n * MS for n in (5, 1, 2, 4, 3)), warmup_steps=0)
    assert samples.median_ms == 3.0
    assert samples.mean_ms == 3.0
    assert samples.p90_ms == pytest.approx(4.6)
    assert samples.p99_ms == pytest.approx(4.96)
    assert Samples((7 * MS,), 0).p99_ms == 7.0


def test_outliers_move_the_tail_and_not_the_median() -> None:
    def durations() -> Iterator[int]:
        while True:
            yield from [10 * MS] * 19
            yield 500 * MS

    samples = times(Clock(), durations(), iterations=100)
    assert samples.median_ms == 10.0
    assert samples.p99_ms == 500.0
    assert samples.mean_ms > 30.0


def test_work_of_an_asynchronous_device_is_waited_for_inside_the_sample() -> None:
    clock = Clock()
    queued = 0

    def launch() -> None:
        nonlocal queued
        clock.now += 10_000
        queued += 5 * MS

    def wait() -> None:
        nonlocal queued
        clock.now += queued
        queued = 0

    limits = {"min_seconds": 0.0, "max_seconds": 60.0, "clock": clock}
    assert set(measure(launch, wait, iterations=30, **limits).nanoseconds) == {5 * MS + 10_000}  # type: ignore[arg-type]
    # The fake would show a timer that does not wait: only the launch would be left.
    assert measure(launch, lambda: None, iterations=30, **limits).median_ms == 0.01  # type: ignore[arg-type]


def test_nothing_but_one_clock_read_is_added_to_a_sample() -> None:
    clock = Clock(read_cost=25)
    samples = times(clock, steady(MS), iterations=40)
    assert set(samples.nanoseconds) == {MS + 25}
    assert clock.reads <= 2 * (len(samples.nanoseconds) + samples.warmup_steps) + 2


def test_warm_up_lasts_until_the_steps_stop_getting_faster() -> None:
    def warming() -> Iterator[int]:
        duration = 200.0 * MS
        while True:
            yield int(duration)
            duration = max(20.0 * MS, duration * 0.95)  # at the floor after 45 steps

    samples = times(Clock(), warming())
    assert samples.warmup_steps >= 45
    assert set(samples.nanoseconds) == {20 * MS}


def test_warm_up_of_a_steady_step_is_two_windows() -> None:
    assert times(Clock(), steady(50 * MS)).warmup_steps == 10
    # Short steps: a window also lasts a tenth of a second.
    assert times(Clock(), steady(MS)).warmup_steps == 200


def test_one_slow_step_does_not_prolong_the_warm_up() -> None:
    def compiled_first() -> Iterator[int]:
        yield 3000 * MS
        yield from steady(50 * MS)

    assert times(Clock(), compiled_first()).warmup_steps == 10


def test_warm_up_that_never_settles_is_bounded() -> None:
    def ever_faster() -> Iterator[int]:
        duration = 100 * MS
        while True:
            yield duration
            duration = int(duration * 0.99) + 1

    clock = Clock()
    samples = times(clock, ever_faster(), max_seconds=6.0, iterations=10)
    assert 2.0 <= (clock.now - sum(samples.nanoseconds)) / 1e9 <= 2.1  # a third of the limit, and the step under way
    assert len(samples.nanoseconds) == 10


def test_timing_lasts_for_the_iterations_and_for_the_seconds() -> None:
    assert len(times(Clock(), steady(10 * MS), iterations=70, min_seconds=0.2).nanoseconds) == 70
    assert len(times(Clock(), steady(10 * MS), iterations=7, min_seconds=2.0).nanoseconds) == 200


def test_the_limit_ends_a_slow_measurement_with_the_samples_it_has() -> None:
    clock = Clock()
    samples = times(clock, steady(1000 * MS), iterations=50, max_seconds=9.0)
    assert samples.warmup_steps == 3
    assert len(samples.nanoseconds) == 6
    assert clock.now == 9_000 * MS


def test_a_step_longer_than_the_limit_still_gives_a_sample() -> None:
    samples = times(Clock(), steady(100_000 * MS), iterations=50, max_seconds=9.0)
    assert (samples.warmup_steps, samples.nanoseconds) == (1, (100_000 * MS,))


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_is_off_inside_and_as_before_afterwards(enabled: bool) -> None:
    clock = Clock()
    inside = set()

    def step() -> None:
        inside.add(gc.isenabled())
        clock.now += 50 * MS

    if not enabled:
        gc.disable()
    measure(step, lambda: None, iterations=3, min_seconds=0, max_seconds=9, clock=clock)
    assert inside == {False}
    assert gc.isenabled() is enabled


@pytest.mark.parametrize("failing_step", [1, 25])  # in the warm-up and among the samples
def test_garbage_collector_is_restored_when_a_step_fails(failing_step: int) -> None:
    clock = Clock()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        clock.now += 50 * MS
        if steps == failing_step:
            raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        measure(step, lambda: None, iterations=50, min_seconds=0, max_seconds=60, clock=clock)
    assert steps == failing_step
    assert gc.isenabled()


def test_garbage_collector_is_restored_when_waiting_fails() -> None:
    def wait() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(lambda: None, wait, iterations=1, min_seconds=0, max_seconds=1, clock=Clock())
    assert gc.isenabled()
