"""The timer: warm-up until it is warm, every step waited for, nothing but the step between two clock reads.

Several subjects are timed in rounds. Each has its turn in every round, in a new order, so that a slow minute of the
machine hits all of them and their ratios survive it. Between two turns the threads of the first are left to fall
asleep: PyTorch's first step beside those of ONNX Runtime, still spinning, took twice as long.
"""

import contextlib
import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

ROUNDS = 50  # at most; of fewer iterations each is a round
# A window of the warm-up lasts at least this many steps and this long: a GPU's fast steps need hundreds before
# clocks and caches settle, a CPU's slow ones only a few.
_WINDOW_STEPS = 5
_WINDOW_NS = 100_000_000
_STILL_FALLING = 0.98  # warm once a window's median is no longer below this share of the one before
_WARMUP_SHARE = 1 / 3  # of max_seconds, at most
# ONNX Runtime's threads spin for 40 to 60 ms after a run, OpenMP's for 10; whoever runs meanwhile has fewer cores.
_LOOK_S = 0.005
_IDLE_SHARE = 0.2  # of one core
_MOST_LOOKS = 50
# The first step of a turn finds the caches full of another network. A longer step fills them in no time.
_REFILLED_NS = 50_000_000

Clock = Callable[[], int]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Timed:
    """Something to time.

    Attributes:
        parts: run one after the other, each a duration of its own. Each does its work, or only queues it on a device.
        synchronize: waits until everything queued is done.
        failures: exceptions that mean that this subject cannot run; others are bugs and pass through.
    """

    parts: tuple[Callable[[], object], ...]
    synchronize: Callable[[], None]
    failures: tuple[type[Exception], ...] = (RuntimeError, MemoryError)


@dataclass(frozen=True)
class Limits:
    """How long to time one subject.

    Attributes:
        iterations, min_seconds: both are reached, unless the next ends it.
        max_seconds: of warm-up and timing together, even with fewer samples; the round then running is finished.
    """

    iterations: int
    min_seconds: float
    max_seconds: float

    @property
    def rounds(self) -> int:
        return min(ROUNDS, self.iterations)


@dataclass(frozen=True)
class WarmUp:
    """Steps that ran before and were not counted.

    Attributes:
        first_ns: how long the very first took.
        last_ns: how long a warm one takes.
        total_ns: of all of them.
    """

    steps: int
    first_ns: int
    last_ns: int
    total_ns: int


@dataclass(frozen=True)
class Samples:
    """Durations in nanoseconds of each part, by round, in the order they were taken; no round is empty."""

    parts: tuple[tuple[tuple[int, ...], ...], ...]


def warm_up(timed: Timed, limits: Limits, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Take steps until they no longer get faster, or a third of the time is over. Errors of the parts pass."""
    with _no_garbage_collection():
        begin = clock()
        deadline = begin + int(limits.max_seconds * _WARMUP_SHARE * 1e9)
        steps, first, previous = 0, 0, math.inf
        while True:
            window: list[int] = []
            length = 0
            while len(window) < _WINDOW_STEPS or length < _WINDOW_NS:
                durations, now = _sample(timed, clock)
                window.append(sum(durations))
                length += window[-1]
                steps += 1
                first = first or window[0]
                if now >= deadline:
                    return WarmUp(steps, first, window[-1], now - begin)
            median = statistics.median(window)
            if median >= previous * _STILL_FALLING:
                return WarmUp(steps, first, int(median), now - begin)
            previous = median


def wait_for_threads(cpu_clock: Clock = time.process_time_ns, sleep: Callable[[float], None] = time.sleep) -> None:
    """Return once all threads of this process are idle, or after a quarter of a second.

    Args:
        cpu_clock: nanoseconds that all threads together have used.
    """
    for _ in range(_MOST_LOOKS):
        before = cpu_clock()
        sleep(_LOOK_S)
        if cpu_clock() - before < _IDLE_SHARE * _LOOK_S * 1e9:
            return


def interleave(
    subjects: Mapping[Key, tuple[Timed, WarmUp]],
    limits: Limits,
    *,
    groups: Mapping[Key, Hashable] | None = None,
    seed: int = 0,
    on_round: Callable[[int, Mapping[Key, Samples]], None] | None = None,
    clock: Clock = time.perf_counter_ns,
    settle: Callable[[], None] = wait_for_threads,
) -> dict[Key, Samples | Exception]:
    """Time warm subjects round by round, each round in a new order drawn from `seed`.

    A sample of a part is `clock(); part(); synchronize(); clock()`. Python's garbage collector is off meanwhile, and
    the threads of the subject before are. A subject that fails has its exception instead of samples, and the others
    go on.

    Args:
        groups: subjects to be compared with each other; one of a group has its turn right after another, since the
            less time lies between two turns, the more of what disturbs them is the same. None for one group of all.
        on_round: called after each round with its number, from 1, and all samples so far; not while anything runs.
        settle: called before each turn where there are several subjects.
    """
    courses = {key: _Course(timed, warmth, len(subjects) > 1) for key, (timed, warmth) in subjects.items()}
    order, shuffle = list(courses), random.Random(seed)
    with _no_garbage_collection():
        for number in range(1, limits.rounds + 1):
            shuffle.shuffle(order)
            for key in order if groups is None else _side_by_side(order, groups):
                if len(courses) > 1:
                    settle()
                courses[key].take_turn(limits, clock)
            if on_round is not None:
                on_round(number, {key: course.samples() for key, course in courses.items() if course.error is None})
    return {key: course.error or course.samples() for key, course in courses.items()}


def _side_by_side(order: list[Key], groups: Mapping[Key, Hashable]) -> list[Key]:
    """The same order, but each group in one piece, where its first member was."""
    places: dict[Hashable, int] = {}
    for key in order:
        places.setdefault(groups[key], len(places))
    return sorted(order, key=lambda key: places[groups[key]])


class _Course:
    """One subject's turns so far."""

    def __init__(self, timed: Timed, warmth: WarmUp, shared: bool) -> None:
        self.error: Exception | None = None
        self._timed = timed
        self._refill = shared and warmth.last_ns < _REFILLED_NS
        self._spent = warmth.total_ns
        self._rounds: list[list[list[int]]] = []  # by round, then part

    def samples(self) -> Samples:
        parts = range(len(self._timed.parts))
        return Samples(tuple(tuple(tuple(taken[part]) for taken in self._rounds) for part in parts))

    def take_turn(self, limits: Limits, clock: Clock) -> None:
        over = self._spent >= limits.max_seconds * 1e9 and self._rounds
        if self.error is not None or over:
            return
        try:
            taken, spent = _turn(self._timed, limits, self._refill, clock)
        except self._timed.failures as error:
            # Without the traceback, which holds the tensors of the failed step.
            self.error = error.with_traceback(None)
            return
        self._rounds.append(taken)
        self._spent += spent


def _turn(timed: Timed, limits: Limits, refill: bool, clock: Clock) -> tuple[list[list[int]], int]:
    """Durations of each part in one round, and nanoseconds spent."""
    steps = math.ceil(limits.iterations / limits.rounds)
    wanted_ns = limits.min_seconds / limits.rounds * 1e9
    most_ns = limits.max_seconds * (1 - _WARMUP_SHARE) / limits.rounds * 1e9
    if refill:
        _sample(timed, clock)
    taken: list[list[int]] = [[] for _ in timed.parts]
    begin, count = clock(), 0
    while True:
        durations, now = _sample(timed, clock)
        for part, duration in zip(taken, durations, strict=True):
            part.append(duration)
        count += 1
        if (count >= steps and now - begin >= wanted_ns) or now - begin >= most_ns:
            return taken, now - begin


def _sample(timed: Timed, clock: Clock) -> tuple[list[int], int]:
    """Run each part once: how long each took, and what the clock says at the end."""
    durations = []
    synchronize, end = timed.synchronize, 0
    for part in timed.parts:
        start = clock()
        part()
        synchronize()
        end = clock()
        durations.append(end - start)
    return durations, end


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
