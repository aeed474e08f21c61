"""The pictures of a benchmark. matplotlib is imported only when one is drawn."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.ui.bench_views import common_words, distinctions, number, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GREY, _LINE, _FAINT = "#0f172a", "#64748b", "#cbd5e1", "#e2e8f0"
_PEER = "#94a3b8"
_COLORS = ("#2563eb", "#ea580c", "#0d9488", "#9333ea", "#db2777", "#ca8a04", "#0891b2", "#65a30d")
_WIDTH = 9.5  # inches


def latency_figure(result: BenchResult) -> "Figure | None":
    """Bars of the median with its 95 % interval, for the first batch and image size; None without figures."""
    rows = _first_block(result.results)
    if not rows:
        return None
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(_model(row) for row in rows))
    colors = series_colors(rows)
    bars = {(_model(row), series(row, rows)): row for row in rows}
    height = 0.8 / len(colors)
    figure = Figure(figsize=(_WIDTH, 1.6 + 0.24 * len(models) * max(len(colors), 1.8)), layout="constrained")
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
    _dress(axes, "Latency", common_words(rows), grid="x")
    if len(colors) > 1:
        _legend(figure, axes, len(colors))
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
    """Images a second against the batch, a panel a way of running; None of a single batch size."""
    rows = [row for row in result.results if row.images_per_second is not None]
    if len({row.batch_size for row in rows}) < 2:
        return None
    from matplotlib.figure import Figure

    panels = list(series_colors(rows))
    models = list(dict.fromkeys(_model(row) for row in rows if row.peer is None)) or [_model(rows[0])]
    figure = Figure(figsize=(max(_WIDTH * 0.6, min(3.4 * len(panels), 13)), 3.9), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    batches = sorted({row.batch_size for row in rows})
    for axes, panel in zip(grid, panels, strict=True):
        for index, model in enumerate(models):
            points = sorted(
                (row.batch_size, row.images_per_second)
                for row in rows
                if series(row, rows) == panel and _model(row) == model and row.images_per_second is not None
            )
            if points:
                color = _COLORS[index % len(_COLORS)]
                axes.plot(
                    *zip(*points, strict=True), color=color, linewidth=2, marker="o", markersize=4.5, label=model
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.set_xlabel("batch size", color=_GREY)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _dress(
            axes,
            f"Throughput, {panel}" if axes is grid[0] else panel,
            common_words(rows) if axes is grid[0] else " ",
            grid="y",
        )
    grid[0].set_ylim(bottom=0)
    grid[0].set_ylabel("images/s", color=_GREY)
    if len(models) > 1:
        _legend(figure, grid[0], len(models))
    return figure


def accuracy_figure(result: BenchResult) -> "Figure | None":
    """Top-1 against latency, as the paper's first figure; None with fewer than two accuracies."""
    rows = [row for row in _first_block(result.results) if row.top1 is not None and row.part in ("inference", "step")]
    if len({row.top1 for row in rows}) < 2:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 5.2), layout="constrained")
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
    sources = {row.top1_source for row in rows}
    how = {"published": "published for ImageNet-1k", "measured": "measured on the data of each file"}
    source = how.get(str(next(iter(sources))), "") if len(sources) == 1 else "published or measured"
    _dress(axes, "Accuracy against latency", f"top-1 {source}; {common_words(rows)}", grid="both")
    if len(colors) > 1:
        _legend(figure, axes, len(colors))
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


_FULL = {"all": "all fused", "branches": "branches fused", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


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


def _dress(axes: "Axes", title: str, subtitle: str, grid: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK, pad=19 if subtitle else 8)
    if subtitle:
        axes.text(0, 1.015, subtitle, transform=axes.transAxes, fontsize=9, color=_GREY, va="bottom", ha="left")
    axes.grid(axis=grid, color=_FAINT, linewidth=0.8)  # type: ignore[arg-type]  # x, y or both
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)


def _legend(figure: "Figure", axes: "Axes", count: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(count, 7), frameon=False, fontsize=9, labelcolor=_GREY
    )
