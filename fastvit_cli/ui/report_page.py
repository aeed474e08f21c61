"""The page of a validation report."""

from datetime import datetime
from functools import partial

from fastvit_cli.data.deep_images import deep_words
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.evaluation.results import ReportData, ValidateResult
from fastvit_cli.ui.figures import Draw, page_figure
from fastvit_cli.ui.pages import Card, render
from fastvit_cli.ui.report_figures import confusion_figure, reliability_figure
from fastvit_cli.ui.tables import Row, Sheet, data_name, model_name
from fastvit_cli.ui.validation_views import (
    class_sheet,
    comparison_facts,
    flip_sheet,
    model_words,
    rate,
    real_words,
    second_score,
    worst_classes,
)

_WORST_CLASSES = 10
_SHOWN_PAIRS = 10
_SHOWN_FLIPS = 30


def page(result: ValidateResult, data: ReportData, environment: dict[str, str]) -> str:
    """The whole page as text."""
    pair, figures = result.comparison, figures_of(result, data)
    return render(
        "validation.html",
        title=f"{model_name(result.model)} on {data_name(result.data)}/{result.split}",
        subtitle=f"{model_words(result)}, {result.num_images:,} images at {result.img_size} px",
        footer=_footer(environment),
        scores=_scores(result),
        reliability=page_figure(figures["reliability"]),
        confusion=page_figure(figures["confusion"]) if "confusion" in figures else None,
        worst=class_sheet(worst_classes(result.classes, _WORST_CLASSES), bars=True),
        classes=class_sheet(result.classes, bars=True),
        compared=None if pair is None else comparison_facts(pair),
        compared_title="" if pair is None else f"Compared with {pair.other} ({pair.other_engine})",
        flips=None if pair is None else flip_sheet(pair, _SHOWN_FLIPS),
        mistakes=data.mistakes,
        gallery_note="What the model said, and how sure it was; below it, what the folder says. "
        "Look for wrong labels here.",
        confused=_confused(result),
        measured=_measured(result),
    )


def figures_of(result: ValidateResult, data: ReportData) -> dict[str, Draw]:
    """By the name of its file; no confusion matrix of thousands of classes."""
    figures: dict[str, Draw] = {"reliability": partial(reliability_figure, result)}
    if data.confusion is not None:
        names = tuple(row.name for row in result.classes)
        figures["confusion"] = partial(confusion_figure, data.confusion, names)
    return figures


def _scores(result: ValidateResult) -> list[Card]:
    return [
        Card("top-1", f"{result.top1:.2f} %", f"95 % interval {result.top1_low:.2f} – {result.top1_high:.2f}"),
        Card(*second_score(result)),
        Card("loss", f"{result.loss:.4f}"),
        Card("mean F1", f"{result.mean_f1:.1f} %"),
        Card("calibration error", f"{result.calibration_error:.1f} %"),
    ]


def _measured(result: ValidateResult) -> list[tuple[str, str]]:
    pre = result.preprocessing
    published = None if result.published_top1 is None else f"{result.published_top1:.1f} % top-1 on ImageNet-1k"
    rows = {
        "published": published,
        "ImageNet-ReaL": None if result.real is None else real_words(result.real),
        "model": result.model,
        "engine": f"{result.engine} on {result.device}: {result.engine_reason}",
        "input": f"{result.img_size} px, centre crop {pre.crop_pct:g}, {pre.interpolation}"
        + (", turned upright by EXIF" if pre.exif else ""),
        "images": f"{result.num_images:,} of {result.data} ({result.split})",
        "speed": f"{rate(result.images_per_second)} images/s, decoding included",
        "left out": f"{len(result.unreadable):,} unreadable images" if result.unreadable else None,
        "deep images": deep_words(result.deep) if result.deep else None,
        "passed over": passed_over_words(result.passed_over) or None,
    }
    return [(name, value) for name, value in rows.items() if value is not None]


def _confused(result: ValidateResult) -> Sheet:
    rows = [Row((one.label, one.prediction, f"{one.images:,}")) for one in result.most_confused[:_SHOWN_PAIRS]]
    return Sheet(("class", "taken for", "images"), rows, text=2)


def _footer(environment: dict[str, str]) -> str:
    versions = [f"{name} {environment[name]}" for name in ("fastvit", "torch", "python") if name in environment]
    written = f"{datetime.now().astimezone():%d %B %Y, %H:%M %Z}"
    return f"Written {written} by {', '.join(versions)}. Every figure: results.json."
