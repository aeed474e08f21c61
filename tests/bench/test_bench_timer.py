"""The timer on a simulated clock: no assertion here depends on how fast this machine is."""

import gc
from collections.abc import Callable, Iterator

import pytest

from fastvit_cli.bench.timer import Limits, Samples, Timed, WarmUp, interleave, wait_for_threads, warm_up

MS = 1_000_000
US = 1_000


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


def timed(clock: Clock, *parts: Iterator[int]) -> Timed:
    """Parts that take the given durations, in nanoseconds."""

    def step(durations: Iterator[int]) -> Callable[[], None]:
        return lambda: clock.work(durations)

    return Timed(tuple(step(durations) for durations in parts), lambda: None)


def limits(iterations: int = 20, min_seconds: float = 0.0, max_seconds: float = 60.0) -> Limits:
    return Limits(iterations, min_seconds, max_seconds)


def warmth(last_ns: int = 100 * MS, total_ns: int = 0) -> WarmUp:
    """Of a subject whose caches need no refilling, unless told."""
    return WarmUp(steps=1, first_ns=last_ns, last_ns=last_ns, total_ns=total_ns)


def durations_of(clock: Clock, durations: Iterator[int], **how: float) -> tuple[tuple[int, ...], ...]:
    """Rounds of a single subject."""
    outcome = interleave({0: (timed(clock, durations), warmth())}, limits(**how), clock=clock)[0]  # type: ignore[arg-type]
    assert isinstance(outcome, Samples)
    return outcome.parts[0]


@pytest.fixture(autouse=True)
def gc_enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_work_of_an_asynchronous_device_is_waited_for_inside_the_sample() -> None:
    clock = Clock()
    queued = 0

    def launch() -> None:
        nonlocal queued
        clock.now += 10 * US
        queued += 5 * MS

    def wait() -> None:
        nonlocal queued
        clock.now += queued
        queued = 0

    def samples(synchronize: Callable[[], None]) -> set[int]:
        subject = Timed((launch,), synchronize)
        outcome = interleave({0: (subject, warmth())}, limits(30), clock=clock)[0]
        assert isinstance(outcome, Samples)
        return {duration for durations in outcome.parts[0] for duration in durations}

    assert samples(wait) == {5 * MS + 10 * US}
    # The fake would show a timer that does not wait: only the launch would be left.
    assert samples(lambda: None) == {10 * US}


def test_every_part_of_a_step_is_waited_for_and_counted_by_itself() -> None:
    clock = Clock()
    outcome = interleave({0: (timed(clock, steady(3 * MS), steady(7 * MS)), warmth())}, limits(10), clock=clock)[0]
    assert isinstance(outcome, Samples)
    assert [{d for round_ in part for d in round_} for part in outcome.parts] == [{3 * MS}, {7 * MS}]


def test_nothing_but_one_clock_read_is_added_to_a_sample() -> None:
    clock = Clock(read_cost=25)
    rounds = durations_of(clock, steady(MS), iterations=40)
    assert {duration for durations in rounds for duration in durations} == {MS + 25}


def test_the_harness_costs_less_than_a_hundredth_of_a_step_of_a_millisecond() -> None:
    # What is not inside a sample: two reads of the clock a step, and two a round. At 0.5 us a read, ten times what
    # it costs here, of 1 ms steps.
    clock = Clock(read_cost=500)
    rounds = durations_of(clock, steady(MS), iterations=1000)
    steps = sum(map(len, rounds))
    assert clock.reads <= 2 * steps + 2 * len(rounds)
    assert clock.now < 1.01 * steps * MS


def test_subjects_take_turns_in_every_round_in_changing_orders() -> None:
    clock = Clock()
    turns: list[str] = []

    def subject(name: str) -> tuple[Timed, WarmUp]:
        def step() -> None:
            turns.append(name)
            clock.now += 100 * MS

        return Timed((step,), lambda: None), warmth()

    interleave({name: subject(name) for name in "abc"}, limits(20), seed=1, clock=clock)
    rounds = ["".join(turns[start : start + 3]) for start in range(0, 60, 3)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"}
    assert len(set(rounds)) > 3
    turns.clear()
    groups = {name: name in "bd" for name in "abcd"}
    interleave({name: subject(name) for name in "abcd"}, limits(40), groups=groups, seed=1, clock=clock)
    rounds = ["".join(turns[start : start + 4]) for start in range(0, 160, 4)]
    assert set(rounds) == {"acbd", "cabd", "acdb", "cadb", "bdac", "dbac", "bdca", "dbca"}


def test_the_first_step_of_a_turn_finds_cold_caches_and_is_not_counted() -> None:
    clock = Clock()

    def cold_first() -> Iterator[int]:
        while True:
            yield 9 * MS
            yield from [MS] * 5  # limits(100) has 20 rounds of 5

    def shared(last_ns: int) -> set[int]:
        pair = {key: (timed(clock, cold_first()), warmth(last_ns)) for key in "ab"}
        outcome = interleave(pair, limits(100), clock=clock)["a"]
        assert isinstance(outcome, Samples)
        return {duration for durations in outcome.parts[0] for duration in durations}

    assert shared(MS) == {MS}
    # A long step fills them within itself; one more would double the time of a subject of few steps.
    assert 9 * MS in shared(60 * MS)


def test_threads_of_the_subject_before_are_waited_for() -> None:
    """One that keeps a core busy for 50 ms after its steps; whoever runs meanwhile takes twice as long."""
    clock = Clock()
    busy_until = 0

    def spinning() -> None:
        nonlocal busy_until
        clock.now += 60 * MS
        busy_until = clock.now + 50 * MS

    def disturbed() -> None:
        clock.now += 120 * MS if clock.now < busy_until else 60 * MS

    def samples(settle: Callable[[], None]) -> set[int]:
        pair = {"a": (Timed((spinning,), lambda: None), warmth()), "b": (Timed((disturbed,), lambda: None), warmth())}
        outcome = interleave(pair, limits(20), clock=clock, settle=settle)["b"]
        assert isinstance(outcome, Samples)
        return {duration for durations in outcome.parts[0] for duration in durations}

    def sleep(seconds: float) -> None:
        clock.now += int(seconds * 1e9)

    def cpu_clock() -> int:  # one core is used as long as the threads spin
        return min(clock.now, busy_until)

    assert samples(lambda: wait_for_threads(cpu_clock, sleep)) == {60 * MS}
    assert samples(lambda: None) == {60 * MS, 120 * MS}


def test_threads_that_never_sleep_are_waited_for_a_while() -> None:
    clock = Clock()
    wait_for_threads(lambda: clock.now, lambda seconds: clock.work(steady(int(seconds * 1e9))))
    assert clock.now == 250 * MS


def test_drift_of_the_machine_hits_all_subjects_alike() -> None:
    clock = Clock()
    slowness = 1.0

    def step(base: int) -> Callable[[], None]:
        def run() -> None:
            nonlocal slowness
            slowness *= 1.001
            clock.now += int(base * slowness)

        return run

    pair = {
        "one": (Timed((step(60 * MS),), lambda: None), warmth()),
        "two": (Timed((step(120 * MS),), lambda: None), warmth()),
    }
    taken = interleave(pair, limits(20), clock=clock)
    one, two = taken["one"], taken["two"]
    assert isinstance(one, Samples)
    assert isinstance(two, Samples)
    ratios = [b[0] / a[0] for a, b in zip(one.parts[0], two.parts[0], strict=True)]
    assert max(ratios) - min(ratios) < 0.01
    assert one.parts[0][-1][0] / one.parts[0][0][0] > 1.03


def test_warm_up_lasts_until_the_steps_stop_getting_faster() -> None:
    def warming() -> Iterator[int]:
        duration = 200.0 * MS
        while True:
            yield int(duration)
            duration = max(20.0 * MS, duration * 0.95)  # at the floor after 45 steps

    clock = Clock()
    found = warm_up(timed(clock, warming()), limits(), clock)
    assert found.steps >= 45
    assert (found.first_ns, found.last_ns, found.total_ns) == (200 * MS, 20 * MS, clock.now)


def test_warm_up_of_a_steady_step_is_two_windows() -> None:
    clock = Clock()
    assert warm_up(timed(clock, steady(50 * MS)), limits(), clock).steps == 10
    # Short steps: a window also lasts a tenth of a second.
    assert warm_up(timed(clock, steady(MS)), limits(), clock).steps == 200


def test_one_slow_step_does_not_prolong_the_warm_up() -> None:
    def compiled_first() -> Iterator[int]:
        yield 3000 * MS
        yield from steady(50 * MS)

    clock = Clock()
    found = warm_up(timed(clock, compiled_first()), limits(), clock)
    assert (found.steps, found.first_ns, found.last_ns) == (10, 3000 * MS, 50 * MS)


def test_warm_up_that_never_settles_is_bounded() -> None:
    def ever_faster() -> Iterator[int]:
        duration = 100 * MS
        while True:
            yield duration
            duration = int(duration * 0.99) + 1

    clock = Clock()
    warm_up(timed(clock, ever_faster()), limits(max_seconds=6.0), clock)
    assert 2.0 <= clock.now / 1e9 <= 2.1  # a third of the limit, and the step under way


def test_timing_lasts_for_the_iterations_and_for_the_seconds() -> None:
    assert [len(r) for r in durations_of(Clock(), steady(10 * MS), iterations=70)] == [2] * 50
    assert sum(map(len, durations_of(Clock(), steady(10 * MS), iterations=7, min_seconds=2.1))) == 7 * 30
    assert [len(r) for r in durations_of(Clock(), steady(10 * MS), iterations=3)] == [1, 1, 1]


def test_the_limit_ends_a_slow_measurement_with_the_samples_it_has() -> None:
    clock = Clock()
    rounds = durations_of(clock, steady(1000 * MS), iterations=50, max_seconds=9.0)
    assert len(rounds) == 9
    assert clock.now == 9_000 * MS


def test_a_round_takes_no_more_than_its_part_of_what_the_warm_up_leaves() -> None:
    """Two thirds of the limit are 6 s: 46 steps and the one under way, or in each of two rounds 23 and one."""
    for iterations, steps in ((1, [47]), (2, [24, 24])):
        rounds = durations_of(Clock(), steady(130 * MS), iterations=iterations, min_seconds=60.0, max_seconds=9.0)
        assert [len(taken) for taken in rounds] == steps


def test_the_time_of_the_warm_up_counts() -> None:
    clock = Clock()
    subject = timed(clock, steady(1000 * MS))
    outcome = interleave({0: (subject, warmth(total_ns=7_000 * MS))}, limits(50, max_seconds=9.0), clock=clock)[0]
    assert isinstance(outcome, Samples)
    assert len(outcome.parts[0]) == 2


def test_a_step_longer_than_the_limit_still_gives_a_sample() -> None:
    assert durations_of(Clock(), steady(100_000 * MS), iterations=50, max_seconds=9.0) == ((100_000 * MS,),)


def test_one_subject_that_fails_leaves_the_others_alone() -> None:
    clock = Clock()
    steps = 0

    def fail() -> None:
        nonlocal steps
        steps += 1
        clock.now += 60 * MS
        if steps == 5:
            raise RuntimeError("device lost")

    good = timed(clock, steady(60 * MS))
    taken = interleave(
        {"bad": (Timed((fail,), lambda: None), warmth()), "good": (good, warmth())}, limits(20), clock=clock
    )
    assert isinstance(taken["bad"], RuntimeError)
    assert taken["bad"].__traceback__ is None, "it would hold the tensors of the failed step"
    assert isinstance(taken["good"], Samples)
    assert len(taken["good"].parts[0]) == 20
    assert steps == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("a bug of ours")])
def test_interrupts_and_bugs_pass_through(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        interleave({0: (Timed((fail,), lambda: None), warmth())}, limits(3), clock=Clock())
    with pytest.raises(type(error)):
        warm_up(Timed((fail,), lambda: None), limits(3), Clock())
    assert gc.isenabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_is_off_inside_and_as_before_afterwards(enabled: bool) -> None:
    clock = Clock()
    inside = set()

    def step() -> None:
        inside.add(gc.isenabled())
        clock.now += 50 * MS

    if not enabled:
        gc.disable()
    subject = Timed((step,), lambda: None)
    interleave({0: (subject, warm_up(subject, limits(3), clock))}, limits(3), clock=clock)
    assert inside == {False}
    assert gc.isenabled() is enabled


def test_rounds_are_told_with_the_samples_so_far() -> None:
    told: list[tuple[int, int]] = []
    clock = Clock()
    interleave(
        {"a": (timed(clock, steady(60 * MS)), warmth())},
        limits(3),
        on_round=lambda number, taken: told.append((number, len(taken["a"].parts[0]))),
        clock=clock,
    )
    assert told == [(1, 1), (2, 2), (3, 3)]
