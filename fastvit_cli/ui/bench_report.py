"""The page of a benchmark: figures first, then tables, then what they hold for."""

from collections.abc import Sequence

from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.ui.bench_figures import figures_of, measured_on, series_of
from fastvit_cli.ui.bench_tables import (
    COST_NOTE,
    NOTHING,
    base_note,
    common_words,
    comparison_sheet,
    cost_columns,
    layer_sheet,
    measured_sheet,
    number,
    operation_sheet,
    page_latency_columns,
    profile_note,
    row_names,
    short_names,
)
from fastvit_cli.ui.figures import page_figure
from fastvit_cli.ui.pages import Card, render
from fastvit_cli.ui.tables import data_name

_SHOWN_LAYERS = 40
_SHOWN_OPERATIONS = 20


def report_html(result: BenchResult) -> str:
    """The whole page."""
    rows, machine, names = result.results, result.machine, row_names(result.results)
    of_row, by_series = series_of(rows)
    colors = {label: by_series[name] for label, name in of_row.items()} if len(by_series) > 1 else {}
    cost = cost_columns(rows)
    if any(row.top1 is not None for row in rows):
        cost["top-1 %"] = lambda row: NOTHING if row.top1 is None else f"{row.top1:.1f}"
        cost["measured on"] = lambda row: NOTHING if row.top1 is None else data_name(measured_on(row) or "unknown")
    return render(
        "bench.html",
        title=_title(rows),
        subtitle=f"{common_words(rows)}; {machine.cpu}, {machine.date[:10]}",
        footer=f"Written by fastvit {machine.fastvit}. Every figure: results.json; every step: samples.csv.",
        best=_cards([row for row in rows if row.median_ms is not None], names),
        warnings=result.warnings,
        figures=[page_figure(draw) for draw in figures_of(result).values()],
        latency=measured_sheet(rows, page_latency_columns(rows), colors),
        latency_note=" ".join(base_note(rows)),
        cost=measured_sheet([row for row in rows if row.error is None], cost, colors),
        cost_note=COST_NOTE,
        compared=result.comparison,
        changes=None if result.comparison is None else comparison_sheet(result.comparison.rows),
        profiles=[
            {
                "name": names.get(profile.label, profile.label),
                "note": profile_note(profile),
                "layers": layer_sheet(profile, _SHOWN_LAYERS),
                "operations": operation_sheet(profile, _SHOWN_OPERATIONS),
            }
            for profile in result.profiles
        ],
        machine=_machine(result),
    )


def _title(rows: Sequence[BenchRow]) -> str:
    short = short_names(rows)
    names = list(dict.fromkeys(short[row.name] for row in rows if row.peer is None))
    if len(names) > 3:
        return f"Latency of {names[0]} and {len(names) - 1} other models"
    return f"Latency of {' and '.join(', '.join(names).rsplit(', ', 1))}"


def _cards(measured: Sequence[BenchRow], names: dict[str, str]) -> list[Card]:
    """The best row of every kind."""
    kinds = {
        "fastest": [(-(row.median_ms or 0.0), f"{number(row.median_ms)} ms", row) for row in measured],
        "most images": [
            (row.images_per_second or 0.0, f"{number(row.images_per_second)} /s", row) for row in measured
        ],
        "of the base's time": [
            (-row.ratio.value, f"{row.ratio.value:.2f} ×", row) for row in measured if row.ratio and not row.peer
        ],
        "closest to the peak": [
            (row.peak_share, f"{100 * row.peak_share:.0f} %", row) for row in measured if row.peak_share
        ],
    }
    best = {kind: max(rows, key=lambda entry: entry[0]) for kind, rows in kinds.items() if rows}
    return [Card(kind, value, names[row.label]) for kind, (_, value, row) in best.items()]


def _machine(result: BenchResult) -> list[tuple[str, str]]:
    machine = result.machine
    revision = f", revision {machine.git_revision}" if machine.git_revision else ""
    libraries = {"torch": machine.torch, **machine.libraries}
    return [
        ("CPU", f"{machine.cpu}, {machine.usable_cores} of {machine.logical_cores} cores usable"),
        ("memory", NOTHING if machine.ram_gib is None else f"{machine.ram_gib} GiB"),
        ("devices", ", ".join(machine.devices)),
        ("system", f"{machine.os}, Python {machine.python}"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())),
        ("threads", str(machine.torch_threads)),
        ("clock", machine.frequency or "unknown"),
        ("fastvit", f"{machine.fastvit}{revision}"),
        ("peak", ", ".join(f"{value / 1e9:,.0f} GFLOP/s {name}" for name, value in result.peak_flops.items())),
        ("date", machine.date),
    ]
