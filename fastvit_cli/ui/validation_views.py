"""What `fastvit validate` found, for people to read; `--json` shows the same results."""

import csv
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.atomic import check_writable, refuse_existing, replaced_when_done
from fastvit_cli.checkpoints.metadata import OTHER_VARIANT
from fastvit_cli.data.deep_images import deep_words
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.bulk import BulkResult, ModelRow
from fastvit_cli.evaluation.class_metrics import ClassScore
from fastvit_cli.evaluation.comparison import ComparedModels
from fastvit_cli.evaluation.label_files import RealScores
from fastvit_cli.evaluation.results import ValidateResult
from fastvit_cli.names import ODD, visible
from fastvit_cli.ui.session import write_json_file
from fastvit_cli.ui.tables import Row, Sheet, data_table, facts, terminal_table

_WORST_CLASSES = 5
_SHOWN_FLIPS = 8
_TABLE_SUFFIXES = (".csv", ".json", ".md")


def validation_view(result: ValidateResult) -> RenderableType:
    """Scores first, then what they are of, then where the model goes wrong."""
    top1 = f"{result.top1:.2f} %  (95 % interval {result.top1_low:.2f} – {result.top1_high:.2f})"
    if result.published_top1 is not None:
        top1 += f"  (published for ImageNet-1k: {result.published_top1:.1f} %)"
    wait = f"; {100 * result.data_wait:.0f} % of the time waiting for them" if result.data_wait > 0.2 else ""
    rows: list[tuple[str, str | Text]] = [
        ("top-1", Text(top1, style="bold")),
        second_score(result),
        ("loss", f"{result.loss:.4f}"),
        ("mean F1", f"{result.mean_f1:.2f} %"),
        ("calibration error", f"{result.calibration_error:.2f} %"),
        (
            "images",
            f"{result.num_images:,} of {result.data} ({result.split}), {result.img_size} px{_of_classes(result)}",
        ),
        ("model", model_words(result)),
        ("engine", f"{result.engine} on {result.device}: {result.engine_reason}"),
        ("speed", f"{rate(result.images_per_second)} images/s, decoding included{wait}"),
    ]
    if result.real is not None:
        rows.insert(2, ("ImageNet-ReaL", real_words(result.real)))
    if result.unreadable:
        rows.insert(-3, ("left out", Text(f"{len(result.unreadable):,} unreadable images", style="yellow")))
    if result.deep:
        rows.insert(-3, ("deep images", deep_words(result.deep)))
    passed_over = passed_over_words(result.passed_over)
    if passed_over:
        rows.insert(-3, ("passed over", Text(passed_over, style="yellow")))
    parts: list[RenderableType] = [facts(rows)]
    worst = worst_classes(result.classes, _WORST_CLASSES)
    if worst:
        parts.append(terminal_table(class_sheet(worst, "worst classes")))
    if result.comparison is not None:
        parts.append(_comparison_view(result.comparison))
    return Group(*parts)


def second_score(result: ValidateResult) -> tuple[str, str]:
    """Top-5 tells nothing of five classes or fewer: of those, what guessing would reach."""
    if len(result.classes) > 5:
        return "top-5", f"{result.top5:.2f} %"
    return "chance level", f"{100 / len(result.classes):.2f} %"


def real_words(real: RealScores) -> str:
    """Both scores against ImageNet-ReaL's labels."""
    return f"{real.top1:.2f} % top-1, {real.top5:.2f} % top-5 of {real.num_images:,} images"


def _of_classes(result: ValidateResult) -> str:
    """Said where some classes have no images, and so no part in the scores."""
    scored = sum(row.images > 0 for row in result.classes)
    return "" if scored == len(result.classes) else f", of {scored:,} of the {len(result.classes):,} classes"


def model_words(result: ValidateResult) -> str:
    """`fastvit_t8, unfused`; a package of another program does not say what it is."""
    if result.variant == OTHER_VARIANT:
        return f"{Path(result.model).name}, of another program"
    return f"fastvit_{result.variant}, {'fused' if result.fused else 'unfused'}"


def worst_classes(classes: tuple[ClassScore, ...], count: int) -> tuple[ClassScore, ...]:
    """Those with the lowest F1 below 100 %, the worst first."""
    faulty = [(row.f1, -row.images, row.name, row) for row in classes if row.f1 is not None and row.f1 < 100.0]
    # By all but the row itself: two of ImageNet's classes are called crane, and rows have no order.
    return tuple(row for *_, row in sorted(faulty, key=lambda entry: entry[:-1])[:count])


def class_sheet(classes: Iterable[ClassScore], title: str = "class", bars: bool = False) -> Sheet:
    """A row a class."""
    rows = [
        Row(
            (row.name, f"{row.images:,}", *map(percent, (row.recall, row.precision, row.f1))),
            bar=(row.f1 or 0.0) / 100 if bars else None,
        )
        for row in classes
    ]
    return Sheet((title, "images", "recall %", "precision %", "F1 %"), rows)


def rate(images_per_second: float) -> str:
    """Whole images, or tenths where there are few."""
    return f"{images_per_second:.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"


def percent(value: float | None) -> str:
    """One decimal; a dash for what does not exist."""
    return "–" if value is None else f"{value:.1f}"


def p_value_words(pair: ComparedModels) -> str:
    """McNemar's test in words that do not claim too much."""
    if pair.only_first_right == pair.only_other_right:
        return "no difference"
    shown = f"p = {pair.p_value:.2g}" if pair.p_value >= 0.001 else "p < 0.001"
    return f"{shown} (McNemar), {'a real difference' if pair.p_value < 0.05 else 'may be chance'}"


def comparison_facts(pair: ComparedModels) -> list[tuple[str, str]]:
    """What the other model scores, and how far the two agree."""
    logits = pair.logits
    return [
        ("top-1", f"{pair.other_top1:.2f} %, {pair.top1_difference:+.2f} points; {p_value_words(pair)}"),
        ("only one right", f"{pair.only_first_right:,} only the first, {pair.only_other_right:,} only this one"),
        ("same prediction", f"{100 * logits.top1_agreement:.2f} % of {logits.num_images:,} images"),
        ("largest difference", f"{logits.max_abs_error:.2g} of logits up to {logits.max_abs_logit:.3g}"),
    ]


def _comparison_view(pair: ComparedModels) -> RenderableType:
    summary = facts(comparison_facts(pair), title=f"Compared with {pair.other} ({pair.other_engine})")
    if not pair.flips:
        return summary
    sheet = flip_sheet(pair, _SHOWN_FLIPS)
    more = pair.num_flips - len(sheet.rows)
    return Group(
        summary,
        terminal_table(sheet),
        *([Text(f"and {more:,} more; --json lists them", style="dim")] if more else []),
    )


def flip_sheet(pair: ComparedModels, count: int) -> Sheet:
    """Images that changed their prediction, and how far each best logit is above the next."""
    rows = []
    for flip in pair.flips[:count]:
        names = (Path(flip.image).name, flip.label, flip.prediction, flip.other_prediction)
        rows.append(Row((*names, _margin(flip.margin), _margin(flip.other_margin))))
    return Sheet(("flipped image", "class", "first says", "other says", "margin", "other's"), rows, text=4)


def _margin(value: float) -> str:
    """Three digits, whether a tie or a clear case."""
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


_COLUMNS = ("model", "variant", "top-1 %", "95 % interval", "top-5 %", "loss", "images", "engine", "images/s")
_NARROW = 6  # columns that a terminal of 80 has room for


def bulk_view(result: BulkResult) -> RenderableType:
    """One row a model, the best first; then what failed, and why."""
    scored = [row for row in result.rows if row.error is None]
    failed = [Text(f"{row.model}: {row.error}", style="red", overflow="fold") for row in result.rows if row.error]
    if result.passed_over:
        count, suffixes = len(result.passed_over), sorted({Path(name).suffix for name in result.passed_over})
        words = f"Not opened: {count:,} {' and '.join(suffixes)}, which can run code; --trust opens them."
        failed.append(Text(words, style="yellow"))
    if not scored:
        return Group(*failed)
    folder = os.path.commonpath([str(Path(row.model).parent) for row in result.rows])
    short = [replace(row, model=os.path.relpath(row.model, folder or ".")) for row in scored]
    table = data_table(_COLUMNS[:_NARROW], [_cells(row)[:_NARROW] for row in short], left=2, title=folder or None)
    measured = sorted({f"{row.num_images:,} images of {row.data} by {row.engine}" for row in scored})
    return Group(table, *(Text(words, style="dim") for words in measured), *failed)


def _cells(row: ModelRow) -> tuple[str, ...]:
    if row.top1 is None or row.top1_low is None or row.top1_high is None or row.top5 is None or row.loss is None:
        return (row.model, *["–"] * (len(_COLUMNS) - 1))
    return (
        row.model,
        f"{row.variant}{' fused' if row.fused else ''}",
        f"{row.top1:.2f}",
        f"{row.top1_low:.1f} – {row.top1_high:.1f}",
        f"{row.top5:.2f}",
        f"{row.loss:.4f}",
        f"{row.num_images:,}",
        str(row.engine),
        rate(row.images_per_second or 0.0),
    )


def prepare_table(path: Path, force: bool) -> Path:
    """Make the table's folder before the work begins.

    Raises:
        FastViTError: another suffix, the file exists and `force` is not set, or it cannot be written.
    """
    if path.suffix not in _TABLE_SUFFIXES:
        raise FastViTError(f"--output '{path}' is of no known kind.", f"End it in {', '.join(_TABLE_SUFFIXES)}.")
    path = path.expanduser()
    refuse_existing(path, force)
    check_writable(path)
    return path


def write_table(path: Path, result: BulkResult, envelope: dict[str, Any]) -> None:
    """The table as a file: CSV and JSON with every figure, Markdown as it is shown.

    Raises:
        FastViTError: the folder cannot be written.
    """
    if path.suffix == ".json":
        write_json_file(path, envelope)
        return
    with (
        replaced_when_done(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=ODD) as file,
    ):
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, [field.name for field in fields(ModelRow)])
            writer.writeheader()
            writer.writerows({name: _csv_value(value) for name, value in asdict(row).items()} for row in result.rows)
            return
        lines = [(*_COLUMNS, "error"), ("---",) * (len(_COLUMNS) + 1)]
        lines += [(*_cells(row), row.error or "") for row in result.rows]
        file.writelines(f"| {' | '.join(visible(cell).replace('|', '/') for cell in line)} |\n" for line in lines)


def _csv_value(value: object) -> object:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
