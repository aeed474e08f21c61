"""What the timer adds to a step of a millisecond, beyond the step itself.

    python tests/benchmarks/bench_overhead.py --steps 2000

A step spins for a given time on the same clock. Compared, in turns: the medians that the timer reports, and those of
a bare loop with one clock read a step. Printed: how far each is above the step, with the spread over rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from rich.console import Console

from fastvit_cli.bench.timer import Limits, Samples, Timed, WarmUp, interleave
from fastvit_cli.ui.tables import data_table

STEP_NS = 1_000_000


def spin() -> None:
    """A millisecond of work."""
    end = time.perf_counter_ns() + STEP_NS
    while time.perf_counter_ns() < end:
        pass


def by_timer(steps: int) -> float:
    """Median that it reports, in ms."""
    subject = (Timed((spin,), lambda: None), WarmUp(1, STEP_NS, STEP_NS, 0))
    outcome = interleave({0: subject}, Limits(steps, 0.0, 600.0))[0]
    assert isinstance(outcome, Samples)
    return statistics.median(duration for round_ in outcome.parts[0] for duration in round_) / 1e6


def by_loop(steps: int) -> float:
    """The same of a bare loop."""
    durations = []
    before = time.perf_counter_ns()
    for _ in range(steps):
        spin()
        now = time.perf_counter_ns()
        durations.append(now - before)
        before = now
    return statistics.median(durations) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    ways: dict[str, Callable[[int], float]] = {"timer": by_timer, "bare loop": by_loop}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            found[name].append(100 * (way(options.steps) - 1))
    rows = [
        (name, f"{statistics.median(over):.3f} %", f"{min(over):.3f} – {max(over):.3f} %")
        for name, over in found.items()
    ]
    title = f"{options.rounds} rounds of {options.steps} steps of 1 ms"
    Console().print(data_table(("measured by", "median above 1 ms", "spread over rounds"), rows, title=title))


if __name__ == "__main__":
    main()
