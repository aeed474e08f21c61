"""A run against an earlier one: the verdicts, what differs, and files that are none of ours."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.bench_rows import MACHINE, row

from fastvit_cli.bench.compare import compare_runs, read_run
from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.errors import FastViTError

QUIET = tuple(10.0 + number / 100 for number in range(20))


def timed(name: str, factor: float = 1.0, **fields: Any) -> BenchRow:
    medians = tuple(factor * value for value in QUIET)
    return replace(row(name), round_medians_ms=medians, median_ms=factor * 10.1, **fields)


def result(*rows: BenchRow, **machine: Any) -> BenchResult:
    return BenchResult(machine=replace(MACHINE, **machine), results=rows, warnings=())


def written(path: Path, result: BenchResult) -> Path:
    path.write_text(json.dumps({"schema": 1, "command": "bench", "result": asdict(result)}))
    return path


def test_rows_are_found_again_and_judged(tmp_path: Path) -> None:
    names = ("same", "slower", "faster", "a little slower", "failed now", "failed then", "gone")
    then = result(*(timed(name) for name in names[:5]), replace(row("failed then"), error="x"), timed("gone"))
    old = read_run(written(tmp_path / "results.json", then))
    now = result(
        timed("same", 1.0001),
        timed("slower", 1.2),
        timed("faster", 0.8),
        timed("a little slower", 1.03),
        replace(row("failed now"), error="x"),
        timed("failed then"),
        timed("fresh"),
        timed("same", batch_size=8),  # not the same row
        timed("same", 30.0, device="mps"),  # nor this
    )
    comparison = compare_runs(old, now, tolerance=5.0)
    verdicts = [(one.verdict, one.beyond_tolerance) for one in comparison.rows]
    assert verdicts == [
        ("same", False),
        ("slower", True),
        ("faster", False),
        ("slower", False),  # significant, and within what is allowed
        ("unmeasured", False),
        ("unmeasured", False),
        ("new", False),
        ("new", False),
        ("new", False),
    ]
    slower = comparison.rows[1]
    assert slower.ratio is not None
    assert slower.ratio.value == pytest.approx(1.2)
    assert not comparison.passed
    assert comparison.missing == (timed("gone").label,)
    assert compare_runs(old, result(timed("slower", 1.2)), tolerance=25.0).passed


def test_noise_beyond_the_tolerance_is_no_slow_down(tmp_path: Path) -> None:
    old = read_run(written(tmp_path / "results.json", result(timed("noisy"))))
    wild = tuple(8.0 if number % 2 else 16.0 for number in range(20))
    comparison = compare_runs(old, result(replace(timed("noisy"), round_medians_ms=wild)), tolerance=5.0)
    assert (comparison.rows[0].verdict, comparison.passed) == ("same", True)


def test_a_folder_is_its_results_and_other_machines_are_told(tmp_path: Path) -> None:
    written(
        tmp_path / "results.json",
        result(timed("a"), cpu="another CPU", devices=("cpu", "cuda:0 (H100)"), libraries={"timm": "1.0"}),
    )
    comparison = compare_runs(read_run(tmp_path), result(timed("a"), torch_threads=2), tolerance=5.0)
    assert comparison.differences == (
        "cpu: another CPU then, a CPU now",
        f"devices: cpu, cuda:0 (H100) then, {', '.join(MACHINE.devices)} now",
        "torch_threads: 4 then, 2 now",
        "timm: 1.0 then, None now",
    )
    assert comparison.old_date == MACHINE.date


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Cannot read"),
        ("{", "is no JSON"),
        ("[]", "no benchmark"),
        ('{"schema": 1, "command": "validate", "result": {}}', "of the command validate"),
        ('{"schema": 9, "command": "bench", "result": {}}', "schema 9"),
        ('{"schema": 1, "command": "bench", "result": {"results": [{}], "machine": {}}}', "'name'"),
        ('{"schema": 1, "command": "bench", "error": {"message": "x"}}', "'result'"),
    ],
)
def test_files_that_are_none_of_ours(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FastViTError) as caught:
        read_run(path)
    assert message in caught.value.message
    assert "--output" in caught.value.hint
