"""Whether `fastvit bench` says the same twice: intervals that overlap, and ratios that stay.

    fastvit bench --variant all --engine torch --engine onnxruntime --peer timm --output first
    fastvit bench --variant all --engine torch --engine onnxruntime --peer timm --output second
    python tests/benchmarks/bench_repeatability.py first/results.json second/results.json

Printed: the share of rows whose 95 % intervals overlap, and by how much the ratios to the baseline differ at most.
Exit 1 below 90 % or beyond 10 %.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from fastvit_cli.ui.tables import data_table

_KEY = ("name", "engine", "fuse", "dtype", "batch_size", "img_size", "part", "compute_units")
LEAST_OVERLAP, MOST_DIFFERENCE = 0.9, 0.1


def rows_of(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Measured rows by what they are of."""
    results = json.loads(path.read_text())["result"]["results"]
    return {tuple(row[name] for name in _KEY): row for row in results if row["error"] is None}


def overlap(one: list[float], other: list[float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    first, second = rows_of(options.first), rows_of(options.second)
    table, overlaps, differences = [], [], []
    for key in [key for key in first if key in second]:
        one, two = first[key], second[key]
        overlaps.append(overlap(one["interval_ms"], two["interval_ms"]))
        ratios = [row["ratio"] and row["ratio"]["value"] for row in (one, two)]
        if all(ratios):
            differences.append(abs(ratios[1] / ratios[0] - 1))
        cells = [
            f"{row['median_ms']:.2f} [{row['interval_ms'][0]:.2f}, {row['interval_ms'][1]:.2f}]" for row in (one, two)
        ]
        cells += ["yes" if overlaps[-1] else "NO", *(f"{ratio:.3f}" if ratio else "" for ratio in ratios)]
        table.append((", ".join(map(str, key[:2])), *cells))
    columns = ("row", "first ms", "second ms", "overlap", "ratio", "ratio again")
    console = Console(width=110, highlight=False)
    console.print(data_table(columns, table))
    if not overlaps or not differences:
        console.print("The two files have no measured rows with ratios in common.")
        return 1
    share, most = sum(overlaps) / len(overlaps), max(differences)
    console.print(
        f"Intervals overlap in {sum(overlaps)} of {len(overlaps)} rows, {100 * share:.0f} % (at least 90 %)."
    )
    console.print(f"Ratios differ by at most {100 * most:.1f} % (at most 10 %).")
    return 0 if share >= LEAST_OVERLAP and most <= MOST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
