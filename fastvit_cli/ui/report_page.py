"""The page of a report: one HTML text that needs nothing else, neither network nor scripts."""

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from fastvit_cli.data.deep_images import deep_words
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.evaluation.class_metrics import ClassScore
from fastvit_cli.evaluation.comparison import ComparedModels
from fastvit_cli.evaluation.predictions import Mistake
from fastvit_cli.evaluation.validate import ReportData, ValidateResult
from fastvit_cli.ui.validation_views import flip_cells, model_words, p_value_words, percent, rate, worst_classes

_MATRIX_CLASSES = 25  # up to here the confusion matrix is a table whose numbers can be read
_WORST_CLASSES = 10
_SHOWN_PAIRS = 10
_SHOWN_FLIPS = 30


def page(result: ValidateResult, data: ReportData, confusion_png: bytes | None, environment: dict[str, str]) -> str:
    """The whole page as text.

    Args:
        confusion_png: the picture for many classes; None when there is no matrix.
    """
    style = (files("fastvit_cli.ui") / "report.css").read_text(encoding="utf-8")
    sections = [
        _cards(result),
        f'<div class="pair">{_reliability(result)}{_worst(result)}</div>',
        _comparison(result.comparison),
        _gallery(data.mistakes),
        f'<div class="pair">{_confusion(result, data, confusion_png)}{_confused(result)}</div>',
        _facts(result),
        _all_classes(result.classes),
    ]
    title = escape(f"{Path(result.model).name}: {result.top1:.2f} % top-1")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{escape(Path(result.model).name)}</h1>
<p>{escape(model_words(result))} on {result.num_images:,} images of {escape(result.data)} ({escape(result.split)})</p>
</header>
{"".join(sections)}
<footer>{escape(_footer(environment))}</footer>
</main>
</body>
</html>
"""


def _footer(environment: dict[str, str]) -> str:
    versions = ", ".join(
        f"{name} {environment[name]}" for name in ("fastvit", "torch", "python") if name in environment
    )
    return f"Written {datetime.now().astimezone():%d %B %Y, %H:%M %Z} by {versions}. Every figure: results.json."


def _cards(result: ValidateResult) -> str:
    cards = [
        ("top-5", f"{result.top5:.2f} %"),
        ("loss", f"{result.loss:.4f}"),
        ("mean F1", f"{result.mean_f1:.1f} %"),
        ("calibration error", f"{result.calibration_error:.1f} %"),
    ]
    first = (
        f'<div class="card first"><span>top-1</span><b>{result.top1:.2f} %</b>'
        f"<span>95 % interval {result.top1_low:.2f} – {result.top1_high:.2f}</span></div>"
    )
    others = (f'<div class="card"><span>{name}</span><b>{value}</b></div>' for name, value in cards)
    return f'<div class="cards">{first}{"".join(others)}</div>'


def _facts(result: ValidateResult) -> str:
    pre = result.preprocessing
    rows = [
        ("model", result.model),
        ("engine", f"{result.engine} on {result.device}: {result.engine_reason}"),
        ("input", f"{result.img_size} px, centre crop {pre.crop_pct:g}, {pre.interpolation}"),
        ("images", f"{result.num_images:,} of {result.data} ({result.split})"),
        ("speed", f"{rate(result.images_per_second)} images/s, decoding included"),
    ]
    if result.real is not None:
        words = f"{result.real.top1:.2f} % top-1, {result.real.top5:.2f} % top-5 of {result.real.num_images:,} images"
        rows.insert(0, ("ImageNet-ReaL", words))
    if result.published_top1 is not None:
        rows.insert(0, ("published", f"{result.published_top1:.1f} % top-1 on ImageNet-1k"))
    if result.unreadable:
        rows.append(("left out", f"{len(result.unreadable):,} unreadable images"))
    if result.deep:
        rows.append(("deep images", deep_words(result.deep)))
    passed_over = passed_over_words(result.passed_over)
    if passed_over:
        rows.append(("passed over", passed_over))
    return _section("What was measured", "", _fact_table(rows))


def _fact_table(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="facts">{body}</table>'


def _reliability(result: ValidateResult) -> str:
    """Accuracy by confidence as a drawing; below it, how many images there are."""
    left, top, size, below = 40, 8, 300, 56
    largest = max(1, *(row.images for row in result.reliability))
    parts = []
    for tick in range(0, 101, 25):
        y, x = top + size * (1 - tick / 100), left + size * tick / 100
        parts.append(f'<line class="grid" x1="{left}" x2="{left + size}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
        parts.append(f'<text x="{x:.1f}" y="{top + size + below + 18}" text-anchor="middle">{tick}</text>')
    for row in result.reliability:
        x, width = left + size * row.low + 1.5, size * (row.high - row.low) - 3
        if row.accuracy is not None and row.confidence is not None:
            low, high = sorted((row.accuracy, row.confidence))
            gap = "under" if row.accuracy > row.confidence else "over"
            parts.append(_bar("accuracy", x, top + size * (1 - low), width, size * low))
            parts.append(_bar(gap, x, top + size * (1 - high), width, size * (high - low)))
        height = (below - 10) * row.images / largest
        parts.append(_bar("count", x, top + size + below - height, width, height))
    ideal = f'<line class="ideal" x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}"/>'
    box = f"0 0 {left + size + 14} {top + size + below + 26}"
    label = f"Reliability diagram: expected calibration error {result.calibration_error:.1f} percent"
    drawing = f'<svg viewBox="{box}" role="img" aria-label="{label}">{"".join(parts)}{ideal}</svg>'
    key = (
        '<div class="key"><span><i style="background:var(--blue)"></i>accuracy, %</span>'
        '<span><i style="background:var(--under)"></i>more right than sure</span>'
        '<span><i style="background:var(--orange)"></i>more sure than right</span>'
        '<span><i style="background:var(--quiet);opacity:.45"></i>images</span></div>'
    )
    note = "Accuracy of the images by the probability, in percent, that the model gave its prediction."
    return _section("Is it as sure as it should be?", note, drawing + key)


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/>'


def _comparison(pair: ComparedModels | None) -> str:
    if pair is None:
        return ""
    facts = _fact_table(
        [
            ("top-1", f"{pair.other_top1:.2f} %, {pair.top1_difference:+.2f} points; {p_value_words(pair)}"),
            ("only one right", f"{pair.only_first_right:,} only the first, {pair.only_other_right:,} only the other"),
            ("same prediction", f"{100 * pair.logits.top1_agreement:.2f} % of {pair.logits.num_images:,} images"),
            ("largest change", f"{pair.logits.max_abs_error:.2g} of logits up to {pair.logits.max_abs_logit:.3g}"),
        ]
    )
    rows = [flip_cells(flip) for flip in pair.flips[:_SHOWN_FLIPS]]
    columns = ("image", "class", "the first says", "the other says", "margin", "other's margin")
    flips = _table(columns, rows, left=4) if rows else "<p>No image changed its prediction.</p>"
    heading = f"Compared with {pair.other} ({pair.other_engine})"
    return _section(heading, "Margin: how far the best logit is above the next.", facts + flips)


def _gallery(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return _section("The most confident mistakes", "", "<p>There are none: every image was recognised.</p>")
    figures = []
    for mistake in mistakes:
        row, data = mistake.prediction, base64.b64encode(mistake.jpeg).decode()
        figures.append(
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(row.label)}" loading="lazy">'
            f"<figcaption><b>{escape(row.prediction)}</b> {100 * row.confidence:.0f} %"
            f"<span>is {escape(row.label)}, {100 * row.label_probability:.1f} %</span>"
            f"<span>{escape(Path(row.image).name)}</span></figcaption></figure>"
        )
    note = "What the model said, and how sure it was; below it, what the folder says. Look for wrong labels here."
    return _section("The most confident mistakes", note, f'<div class="gallery">{"".join(figures)}</div>')


def _worst(result: ValidateResult) -> str:
    worst = worst_classes(result.classes, _WORST_CLASSES)
    if not worst:
        return _section("Worst classes", "", "<p>Every class was recognised without a mistake.</p>")
    return _section("Worst classes", "Lowest F1 first.", _class_table(worst))


def _class_table(classes: Iterable[ClassScore]) -> str:
    head = (
        '<tr><th>class</th><th class="n">images</th><th class="n">recall</th><th class="n wide">precision</th>'
        '<th class="n">F1, %</th><th class="wide"></th></tr>'
    )
    rows = "".join(
        f'<tr><td class="name">{escape(row.name)}</td><td class="n">{row.images:,}</td>'
        f'<td class="n">{percent(row.recall)}</td><td class="n wide">{percent(row.precision)}</td>'
        f'<td class="n">{percent(row.f1)}</td>'
        f'<td class="wide"><span class="bar"><i style="width:{row.f1 or 0:.0f}%"></i></span></td></tr>'
        for row in classes
    )
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _confused(result: ValidateResult) -> str:
    rows = [(pair.label, pair.prediction, f"{pair.images:,}") for pair in result.most_confused[:_SHOWN_PAIRS]]
    body = (
        _table(("class", "taken for", "images"), rows, left=2) if rows else "<p>No class was taken for another.</p>"
    )
    return _section("Most often confused", "", body)


def _confusion(result: ValidateResult, data: ReportData, png: bytes | None) -> str:
    if data.confusion is None or png is None:
        return ""
    names = tuple(row.name for row in result.classes)
    note = "Rows are the classes, columns the predictions; the colour is the share of the class."
    if len(names) > _MATRIX_CLASSES:
        source = base64.b64encode(png).decode()
        picture = f'<img src="data:image/png;base64,{source}" alt="Confusion matrix">'
        return _section("Confusion matrix", note, f'<div class="picture">{picture}</div>')
    columns = "".join(f'<th class="column"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for place, (name, counts) in enumerate(zip(names, data.confusion.tolist(), strict=True)):
        cells = "".join(_cell(count, sum(counts), name, names[at], at == place) for at, count in enumerate(counts))
        rows.append(f'<tr><th class="row">{escape(name)}</th>{cells}</tr>')
    table = f'<table class="matrix"><tr><th></th>{columns}</tr>{"".join(rows)}</table>'
    return _section("Confusion matrix", note, f'<div class="scroll">{table}</div>')


def _cell(count: int, images: int, label: str, prediction: str, right: bool) -> str:
    share = count / images if images else 0.0
    colour = "--heat" if right else "--wrong"
    shade = f"rgba(var({colour}),{0.06 + 0.64 * share:.2f})" if count else "var(--page)"
    title = escape(f"{label} taken for {prediction}: {count} of {images}")
    return f'<td title="{title}" style="background:{shade}">{count or ""}</td>'


def _all_classes(classes: tuple[ClassScore, ...]) -> str:
    table = _class_table(classes)
    return f"<section><details><summary>All {len(classes):,} classes</summary>{table}</details></section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        kinds = ("name" if place < left else "n" for place in range(len(values)))
        return "".join(
            f'<{tag} class="{kind}">{escape(value)}</{tag}>' for kind, value in zip(kinds, values, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", columns)}</tr>{body}</table></div>'


def _section(title: str, note: str, body: str) -> str:
    said = f'<p class="note">{escape(note)}</p>' if note else '<p class="note"></p>'
    return f"<section><h2>{escape(title)}</h2>{said}{body}</section>"
