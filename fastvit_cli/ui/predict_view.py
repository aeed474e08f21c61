"""What `fastvit predict` found: a table for people, CSV or JSON lines for programs."""

import csv
import sys

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fastvit_cli.evaluation.predict import PredictResult
from fastvit_cli.evaluation.validate_options import CSV
from fastvit_cli.names import visible
from fastvit_cli.ui.session import print_json

_BAR = 10  # characters that stand for 100 %


def predict_view(result: PredictResult) -> RenderableType:
    """One row a class, the image beside its first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold", ratio=2)
    table.add_column("class", overflow="fold", ratio=2)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    for number, row in enumerate(result.images):
        if number and len(row.guesses) > 1:
            table.add_section()
        if row.error:
            table.add_row(Text(visible(row.image)), Text(f"no answer: {row.error}", style="yellow"), "", "")
        for place, guess in enumerate(row.guesses):
            style = "bold" if place == 0 else "dim"
            table.add_row(
                Text(visible(row.image) if place == 0 else ""),
                Text(visible(guess.name), style=style),
                Text(f"{100 * guess.probability:.1f}", style=style),
                Text("█" * round(_BAR * guess.probability), style="cyan"),
            )
    return table


def print_rows(result: PredictResult, kind: str) -> None:
    """CSV with one line a class, or one JSON object an image, on stdout."""
    if kind == CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("image", "rank", "class", "index", "probability", "error"))
        for row in result.images:
            if row.error:
                writer.writerow((row.image, "", "", "", "", row.error))
            for rank, guess in enumerate(row.guesses, start=1):
                writer.writerow((row.image, rank, guess.name, guess.index, f"{guess.probability:.6f}", ""))
        return
    for row in result.images:
        print_json(row, indent=None)
