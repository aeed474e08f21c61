"""The pictures of a benchmark. matplotlib is imported only when one is drawn."""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.ui.bench_views import common_words, distinctions, number, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GREY, _LINE, _FAINT = "#0f172a", "#64748b", "#cbd5e1", "#e2e8f0"
_PEER = "#94a3b8"
_COLORS = (
    *("#2563eb", "#ea580c", "#0d9488", "#9333ea", "#db2777", "#ca8a04"),
    *("#0891b2", "#65a30d", "#7f1d1d", "#1e3a8a", "#f472b6", "#065f46"),
)
_WIDTH = 9.5  # inches
_HEADING = 0.55  # inches, of title and subtitle
_PANEL_TITLE = 32  # characters of a line
_LEGEND_WIDTH = 128  # characters of a line, at its font size


def latency_figure(result: BenchResult) -> "Figure | None":
    """Bars of the median with its 95 % interval, for the first batch and image size; None without figures."""
    rows = _first_block(result.results)
    if not rows:
        return None
    models = list(dict.fromkeys(_model(row) for row in rows))
    colors = series_colors(rows)
    bars = {(_model(row), series(row, rows)): row for row in rows}
    height = 0.8 / len(colors)
    figure = _figure(1.1 + 0.24 * len(models) * max(len(colors), 1.8), "Latency", common_words(rows))
    axes = figure.subplots()
    longest = max((row.interval_ms or (0.0, row.median_ms or 0.0))[1] for row in rows)
    for position, model in enumerate(models):
        own = [name for name in colors if (model, name) in bars]
        for place, name in enumerate(own):
            row = bars[model, name]
            y = position + (place - (len(own) - 1) / 2) * height
            _bar(axes, row, y, height, colors[name], longest)
    for name, color in colors.items():
        axes.barh(0, 0, color=color, label=name)
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.45, -0.55)
    axes.set_xlim(0, longest * 1.09)
    axes.set_xlabel("ms a step, median and 95 % interval", color=_GREY)
    _dress(axes, grid="x")
    _legend(figure, colors)
    return figure


def _bar(axes: "Axes", row: BenchRow, y: float, height: float, color: str, longest: float) -> None:
    median = row.median_ms or 0.0
    low, high = row.interval_ms or (median, median)
    axes.barh(y, median, height=height * 0.86, color=color, zorder=2)
    axes.errorbar(
        median,
        y,
        xerr=[[max(median - low, 0)], [max(high - median, 0)]],
        color=_INK,
        linewidth=1.1,
        capsize=2.5,
        zorder=3,
    )
    axes.text(max(high, median) + longest * 0.012, y, number(median), va="center", fontsize=8.5, color=_INK)


def throughput_figure(result: BenchResult) -> "Figure | None":
    """Images a second against the batch, for the first image size; None of a single batch size."""
    measured = [row for row in result.results if row.images_per_second is not None]
    rows = [row for row in measured if row.img_size == measured[0].img_size]
    batches = sorted({row.batch_size for row in rows})
    if len(batches) < 2:
        return None
    panels, line_of, colors = _panels(rows)
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    figure = _figure(0.8 + 2.6 * lines, "Throughput", common_words(rows))
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, (title, members) in zip(grid.flat, panels.items(), strict=False):
        for name in dict.fromkeys(map(line_of, members)):
            points = sorted((row.batch_size, row.images_per_second or 0.0) for row in members if line_of(row) == name)
            axes.plot(
                *zip(*points, strict=True), color=colors[name], linewidth=2, marker="o", markersize=4.5, label=name
            )
        axes.set_title(
            textwrap.fill(title, _PANEL_TITLE), loc="left", fontsize=10, fontweight="bold", color=_INK, pad=8
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.set_xlabel("batch size", color=_GREY)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        _dress(axes, grid="y")
    grid[0, 0].set_ylim(bottom=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("images/s", color=_GREY)
    _legend(figure, colors)
    return figure


def _panels(
    rows: Sequence[BenchRow],
) -> tuple[dict[str, list[BenchRow]], Callable[[BenchRow], str], dict[str, str]]:
    """Rows by the title of their panel, what the line of a row is called, and each line's colour.

    Networks or ways of running, whichever are fewer, have a panel each, and the others are the lines in it. A peer
    is a line beside every network that it is a peer of, or a way of running like the others.
    """
    ways = series_colors(rows)
    own = [row for row in rows if row.peer is None] or rows
    models = dict.fromkeys(map(_model, own))
    if len(series_colors(own)) < len(models):
        colors = dict(zip(dict.fromkeys(map(_model, rows)), itertools.cycle(_COLORS), strict=False))
        by_way = {way: [row for row in rows if series(row, rows) == way] for way in ways}
        return (by_way if len(by_way) > 1 else {"": list(rows)}), _model, colors
    variants = {model: {row.variant for row in own if _model(row) == model} for model in models}
    by_model = {
        model: [row for row in rows if _model(row) == model or (row.peer and row.variant in variants[model])]
        for model in models
    }
    return by_model, lambda row: series(row, rows), ways


def accuracy_figure(result: BenchResult) -> "Figure | None":
    """Top-1 against latency, as the paper's first figure; None with fewer than two accuracies."""
    rows = [row for row in _first_block(result.results) if row.top1 is not None and row.part in ("inference", "step")]
    if len({row.top1 for row in rows}) < 2:
        return None
    sources = {row.top1_source for row in rows}
    how = {"published": "published for ImageNet-1k", "measured": "measured on the data of each file"}
    source = how.get(str(next(iter(sources))), "") if len(sources) == 1 else "published or measured"
    figure = _figure(4.7, "Accuracy against latency", f"top-1 {source}; {common_words(rows)}")
    axes = figure.subplots()
    colors = series_colors(rows)
    fastest = min(colors, key=lambda name: sum(row.median_ms or 0 for row in rows if series(row, rows) == name))
    for name, color in colors.items():
        points = sorted((row for row in rows if series(row, rows) == name), key=lambda row: row.top1 or 0.0)
        times, scores = [row.median_ms or 0.0 for row in points], [row.top1 or 0.0 for row in points]
        axes.plot(times, scores, color=color, linewidth=2.2, marker="o", markersize=7, label=name, zorder=3)
        if name != fastest:
            continue
        for row, time, score in zip(points, times, scores, strict=True):
            axes.annotate(
                _model(row),
                (time, score),
                textcoords="offset points",
                xytext=(-8, 4),
                ha="right",
                fontsize=9,
                fontweight="bold",
                color=color,
            )
    axes.margins(x=0.09, y=0.1)
    axes.set_xlabel("ms a step, median", color=_GREY)
    axes.set_ylabel("top-1, %", color=_GREY)
    _dress(axes, grid="both")
    _legend(figure, colors)
    return figure


FIGURES: dict[str, Callable[[BenchResult], "Figure | None"]] = {
    "accuracy": accuracy_figure,
    "latency": latency_figure,
    "throughput": throughput_figure,
}


def series(row: BenchRow, rows: Sequence[BenchRow]) -> str:
    """What a row has in common with those of one colour: how it is run, whatever network it is."""
    left_out = ("batch", "px", "engine", "form") if row.peer else ("batch", "px")
    differing = {name: of for name, of in distinctions(rows).items() if name not in left_out}
    words = ([row.peer] if row.peer else []) + [_FULL.get(of(row), of(row)) for of in differing.values()]
    if not words and any(other.peer for other in rows):
        return "fastvit"
    return ", ".join(words) or "fastvit"


_FULL = {
    "all": "all fused",
    "branches": "branches fused",
    "torch": "PyTorch",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "coreml": "Core ML",
}


def series_colors(rows: Sequence[BenchRow]) -> dict[str, str]:
    """A colour for each series; peers are grey."""
    colors: dict[str, str] = {}
    fresh = iter(_COLORS * 8)
    for row in sorted(rows, key=lambda row: row.peer is not None):
        name = series(row, rows)
        if name not in colors:
            colors[name] = _PEER if row.peer else next(fresh)
    return colors


def _model(row: BenchRow) -> str:
    """The network's name; a peer has that of the network it is a peer of."""
    name = short_name(row).removeprefix(f"{row.peer} ") if row.peer else short_name(row)
    return name if len(name) <= 28 else f"…{name[-27:]}"


def _first_block(rows: Sequence[BenchRow]) -> list[BenchRow]:
    measured = [row for row in rows if row.median_ms is not None]
    if not measured:
        return []
    batch, size = measured[0].batch_size, measured[0].img_size
    return [row for row in measured if (row.batch_size, row.img_size) == (batch, size)]


def _figure(height: float, title: str, subtitle: str) -> "Figure":
    """An empty one with its heading above all axes, `height` inches below it."""
    from matplotlib.figure import Figure

    whole = height + _HEADING
    figure = Figure(figsize=(_WIDTH, whole))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, height / whole), w_pad=0.12, h_pad=0.1, wspace=0.02)
    left, top = 0.13 / _WIDTH, 1 - 0.13 / whole
    figure.text(left, top, title, fontsize=13, fontweight="bold", color=_INK, va="top")
    figure.text(left, top - 0.25 / whole, subtitle, fontsize=9, color=_GREY, va="top")
    return figure


def _dress(axes: "Axes", grid: str) -> None:
    axes.grid(axis=grid, color=_FAINT, linewidth=0.8)  # type: ignore[arg-type]  # x, y or both
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)


def _legend(figure: "Figure", names: Iterable[str]) -> None:
    """Those of the names that are drawn in any of the axes, each once; a single one would tell nothing."""
    drawn = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {label: handle for pair in drawn for handle, label in zip(*pair, strict=True)}
    labels = [name for name in names if name in handles]
    if len(labels) < 2:
        return
    columns = max(1, _LEGEND_WIDTH // (max(map(len, labels)) + 8))  # 8 for the sign and the space around it
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=min(len(labels), columns),
        frameon=False,
        fontsize=9,
        labelcolor=_GREY,
    )
