"""What `fastvit bench --output` writes."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from fastvit_cli.atomic import check_writable, write_text
from fastvit_cli.bench.events import BenchResult, BenchRun
from fastvit_cli.ui.bench_figures import figures_of
from fastvit_cli.ui.bench_report import report_html
from fastvit_cli.ui.bench_tables import base_note, common_words, cost_columns, measured_sheet, page_latency_columns
from fastvit_cli.ui.bench_views import machine_line
from fastvit_cli.ui.figures import write_png
from fastvit_cli.ui.session import write_json_file

RESULTS = "results.json"
_TRACE_NAME = 100  # characters; file systems take some 250 in all
_NOT_IN_CSV = ("round_medians_ms", "interval_ms", "ratio")


def prepare_folder(folder: Path) -> Path:
    """Make the folder before the work begins.

    Raises:
        FastViTError: it cannot be written.
    """
    folder = folder.expanduser()
    check_writable(folder / RESULTS)
    return folder


def write_bench_files(folder: Path, run: BenchRun, envelope: dict[str, Any]) -> None:
    """results.json, results.csv, samples.csv, results.md, the pictures, report.html and the traces, each whole.

    Raises:
        FastViTError: the folder cannot be written.
    """
    result = run.result
    write_json_file(folder / RESULTS, envelope)
    write_text(folder / "results.csv", _results_csv(result))
    write_text(folder / "samples.csv", _samples_csv(run))
    write_text(folder / "results.md", markdown(result))
    for name, draw in figures_of(result).items():
        write_png(draw, folder / f"{name}.png")
    write_text(folder / "report.html", report_html(result))
    for place, (profile, trace) in enumerate(zip(result.profiles, run.traces, strict=True), start=1):
        if trace:
            write_text(folder / f"trace-{place}-{_file_name(profile.label)}.json", trace)


def _file_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-.")[:_TRACE_NAME]


def _results_csv(result: BenchResult) -> str:
    rows = []
    for row in result.results:
        low, high = row.interval_ms or (None, None)
        fields = {key: value for key, value in vars(row).items() if key not in _NOT_IN_CSV}
        fields |= {"interval_low_ms": low, "interval_high_ms": high}
        fields |= {f"ratio_{key}": getattr(row.ratio, key, None) for key in ("value", "low", "high", "significant")}
        rows.append(fields)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _samples_csv(run: BenchRun) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("row", "label", "round", "nanoseconds"))
    for index, (row, rounds) in enumerate(zip(run.result.results, run.samples, strict=True)):
        for position, durations in enumerate(rounds, start=1):
            writer.writerows((index, row.label, position, duration) for duration in durations)
    return out.getvalue()


def markdown(result: BenchResult) -> str:
    """The latency table, and what it holds for."""
    rows = result.results
    columns = {**page_latency_columns(rows), "MiB": cost_columns(rows)["MiB"]}
    sheet = measured_sheet(rows, columns)
    lines = [f"Latency: {common_words(rows)}", "", _md_row(sheet.columns)]
    lines.append(_md_row("---" if place < sheet.text else "---:" for place in range(len(sheet.columns))))
    lines += [_md_row([*row.cells[: sheet.text], row.error] if row.error else row.cells) for row in sheet.rows]
    lines += ["", machine_line(result), "", *base_note(rows), "", *(f"- {warning}" for warning in result.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def _md_row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
