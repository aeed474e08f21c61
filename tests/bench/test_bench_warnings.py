"""What makes figures doubtful is said, with what to do; a quiet machine gives no warning."""

from dataclasses import replace

import pytest
from helpers.bench_rows import MACHINE, row

from fastvit_cli.bench.warnings import busy_warnings, row_warnings, speed_warnings


def test_a_quiet_machine_gives_no_warning() -> None:
    assert busy_warnings(MACHINE, 0.4) == busy_warnings(MACHINE, None) == ()
    assert row_warnings([row(median_ms=10.0, p90_ms=12.0, samples=50), row("lost")], 50) == ()
    assert speed_warnings(1e11, 0.95e11) == speed_warnings(None, 1e11) == ()


def test_a_busy_machine() -> None:
    assert busy_warnings(MACHINE, 3.0) == ()  # one of them is this program
    (warning,) = busy_warnings(MACHINE, 3.2)
    assert "3.2 on 4 cores" in warning


@pytest.mark.parametrize("governor", ["powersave", "performance, schedutil"])
def test_a_clock_that_varies(governor: str) -> None:
    (warning,) = busy_warnings(replace(MACHINE, frequency=governor), 0.0)
    assert governor in warning
    assert "cpupower" in warning


def test_a_machine_that_changed_its_speed() -> None:
    (slower,) = speed_warnings(1e11, 0.8e11)
    (faster,) = speed_warnings(1e11, 1.3e11)
    assert "20 % slower while it was measured: it got hot" in slower
    assert "30 % faster while it was measured: another program ended" in faster
    assert "hot" not in faster, "heat makes it slower"
    assert "cool" not in faster


def test_a_wide_spread_names_the_worst_rows() -> None:
    (one,) = row_warnings([row(median_ms=10.0, p90_ms=20.0), row("lost")], 1)
    assert "2.0 times for mine (torch)" in one
    assert "run again" in one
    assert "lost" not in one
    (many,) = row_warnings([row(str(n), median_ms=10.0, p90_ms=10.0 * n) for n in range(2, 7)], 1)
    assert "6.0 times for 6 (torch), 5.0 times for 5 (torch), 4.0 times for 4 (torch) and 2 more" in many


def test_fewer_samples_than_asked_for() -> None:
    (warning,) = row_warnings([row(samples=3)], 50)
    assert "before 50 timed steps: 3 for mine (torch)" in warning
