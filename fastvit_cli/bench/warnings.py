"""What makes the figures doubtful, and what to do about it."""

from collections.abc import Iterator, Sequence

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.bench.machine import Machine

_NOISY_SPREAD = 1.25  # p90 over median
_CHANGED_SPEED = 0.1
_VARYING_GOVERNORS = ("powersave", "ondemand", "conservative", "schedutil")
_NAMED_ROWS = 3


def busy_warnings(machine: Machine, load: float | None) -> tuple[str, ...]:
    """Of the machine before anything is timed.

    Args:
        load: see `machine.load_average`.
    """
    return tuple(_busy(machine, load))


def _busy(machine: Machine, load: float | None) -> Iterator[str]:
    # One of the programs that ran in the last minute is this one.
    if load is not None and load - 1 > machine.logical_cores / 2:
        yield (
            f"The machine was busy before the measurement: load average {load:.1f} on {machine.logical_cores} cores. "
            "Close other programs, wait a minute and run again."
        )
    if machine.frequency is not None and any(name in machine.frequency for name in _VARYING_GOVERNORS):
        yield (
            f"The clock of the CPU varies with its load (governor {machine.frequency}). "
            "For steady figures: sudo cpupower frequency-set --governor performance."
        )


def speed_warnings(before: float | None, after: float | None) -> tuple[str, ...]:
    """Of the same matrix product before and after the measurement, in FLOP/s."""
    if before is None or after is None or abs(after / before - 1) <= _CHANGED_SPEED:
        return ()
    if after < before:
        change, cause, advice = "slower", "it got hot, or another program began", "let it cool"
    else:
        change, cause, advice = "faster", "another program ended, or the CPU's clock rose", "wait a minute"
    return (
        f"The machine became {100 * abs(after / before - 1):.0f} % {change} while it was measured: {cause}. "
        f"Ratios hold, times less so: {advice}, close other programs and run again.",
    )


def row_warnings(rows: Sequence[BenchRow], iterations: int) -> tuple[str, ...]:
    """Of the rows' spread and of the samples behind them."""
    return tuple(_row_warnings(rows, iterations))


def _row_warnings(rows: Sequence[BenchRow], iterations: int) -> Iterator[str]:
    spreads = [
        (row.p90_ms / row.median_ms, row)
        for row in rows
        if row.p90_ms is not None and row.median_ms and row.p90_ms / row.median_ms > _NOISY_SPREAD
    ]
    if spreads:
        worst = sorted(spreads, key=lambda item: -item[0])
        named = [f"{spread:.1f} times for {row.name} ({row.engine})" for spread, row in worst[:_NAMED_ROWS]]
        yield (
            f"The machine was noisy: p90 is well above the median, {_and_more(named, len(worst))}. "
            "Close other programs, let it cool and run again, or leave them a core with --threads."
        )
    short = [row for row in rows if row.samples is not None and row.samples < iterations]
    if short:
        named = [f"{row.samples} for {row.name} ({row.engine})" for row in short[:_NAMED_ROWS]]
        yield (
            f"The time limit ended the measurement before {iterations} timed steps: {_and_more(named, len(short))}. "
            "Pass a smaller --batch-size or --img-size, or a larger --min-seconds."
        )


def _and_more(named: Sequence[str], count: int) -> str:
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")
