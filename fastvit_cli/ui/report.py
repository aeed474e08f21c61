"""The report of `fastvit validate --report`: a folder with one self-contained page, and the figures behind it."""

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from fastvit_cli.atomic import replaced_when_done, write_text
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.predictions import Prediction
from fastvit_cli.evaluation.results import ReportData, ValidateResult
from fastvit_cli.names import ODD
from fastvit_cli.ui.figures import write_png
from fastvit_cli.ui.report_page import figures_of, page
from fastvit_cli.ui.session import write_json_file

PAGE, RESULTS, PREDICTIONS = "index.html", "results.json", "predictions.csv"
CONFUSION, RELIABILITY = "confusion.png", "reliability.png"
FILES = frozenset((PAGE, RESULTS, PREDICTIONS, CONFUSION, RELIABILITY))


def prepare_folder(folder: Path, files: frozenset[str] = FILES) -> Path:
    """Make the folder before the work begins.

    Args:
        files: what a report of this kind holds, which may be written again.

    Raises:
        FastViTError: it is a file, cannot be made, or holds other things than a report.
    """
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        # Hidden files are the system's, such as the one that macOS leaves in every folder that was looked at.
        seen = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        strangers = seen - files
    except OSError as error:
        raise FastViTError(
            f"Cannot write a report to '{folder}' ({error.strerror or error}).", "Pass --report with a new folder."
        ) from error
    if strangers:
        raise FastViTError(
            f"'{folder}' holds other things than a report: {min(strangers)}.", "Pass --report with a new folder."
        )
    return folder


def write_report(folder: Path, result: ValidateResult, data: ReportData, envelope: dict[str, Any]) -> None:
    """Write every file of the report, the page last.

    Raises:
        FastViTError: the folder cannot be written.
    """
    write_json_file(folder / RESULTS, envelope)
    _write_predictions(folder / PREDICTIONS, data.predictions)
    for name, draw in figures_of(result, data).items():
        write_png(draw, folder / f"{name}.png")
    write_text(folder / PAGE, page(result, data, envelope["environment"]))


def _write_predictions(path: Path, predictions: tuple[Prediction, ...]) -> None:
    with (
        replaced_when_done(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=ODD) as file,
    ):
        writer = csv.DictWriter(file, [field.name for field in fields(Prediction)])
        writer.writeheader()
        writer.writerows(map(asdict, predictions))
