"""The figures of a benchmark."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fastvit_cli.bench.events import INFERENCE, BenchResult, BenchRow
from fastvit_cli.bench.rows import WHOLE_STEP
from fastvit_cli.formats import ENGINES
from fastvit_cli.ui.bench_tables import common_words, distinctions, number, short_names
from fastvit_cli.ui.figures import WIDE, Draw, Drawing, plain
from fastvit_cli.ui.palette import LIGHT, SERIES
from fastvit_cli.ui.point_labels import Point, label_points
from fastvit_cli.ui.tables import data_name, told_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_TITLE = 32  # characters of a line
_PUBLISHED, _PUBLISHED_PX = "ImageNet-1k", 256
_LOGARITHMIC = 10.0  # from this ratio of the largest to the smallest on


def figures_of(result: BenchResult) -> dict[str, Draw]:
    """By the name of its file."""
    rows = result.results
    draws = {"accuracy": accuracy_figure, "latency": latency_figure, "throughput": throughput_figure}
    return {name: partial(draw, rows) for name, draw in draws.items()}


def latency_figure(rows: Sequence[BenchRow], width: float) -> Drawing | None:
    """Bars of the median with its 95 % interval, for the first batch size; None without measurements."""
    from matplotlib.figure import Figure

    of_row, colors = series_of(rows)
    rows = _first_block(rows)
    if not rows:
        return None
    names = _names(rows, width, wrapped=True)
    models = {model: [row for row in rows if names[row.name] == model] for model in dict.fromkeys(names.values())}
    bars, lines = max(map(len, models.values())), max(1 + model.count("\n") for model in models)
    apart = max(0.12 + 0.22 * bars, 0.08 + 0.19 * lines, 0.4)  # inches from model to model
    figure = Figure(figsize=(width, 1.0 + apart * len(models)))
    axes = figure.subplots()
    longest = max((row.interval_ms or (0.0, row.median_ms or 0.0))[1] for row in rows)
    height = 0.22 / apart
    for position, own in enumerate(models.values()):
        for place, row in enumerate(sorted(own, key=lambda row: list(colors).index(of_row[row.label]))):
            y = position + (place - (len(own) - 1) / 2) * height
            _bar(axes, row, y, height, colors[of_row[row.label]], longest)
    for name in dict.fromkeys(of_row[row.label] for row in rows):
        axes.barh(0, 0, color=colors[name], label=name)
    axes.set_yticks(range(len(models)), list(models))
    axes.set_ylim(len(models) - 0.45, -0.55)
    axes.set_xlim(0, longest * (1.08 if width == WIDE else 1.18))
    axes.set_xlabel("ms a step, median and 95 % interval")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    _legend(figure, colors, width)
    medians = {row.label: row.median_ms or 0.0 for row in rows}
    fastest, slowest = min(medians, key=lambda label: medians[label]), max(medians, key=lambda label: medians[label])
    alt = f"Bars of {len(rows)} latencies, from {number(medians[fastest])} ms ({fastest}) to "
    return Drawing(figure, "Latency", common_words(rows), f"{alt}{number(medians[slowest])} ms ({slowest}).")


def _bar(axes: "Axes", row: BenchRow, y: float, height: float, color: str, longest: float) -> None:
    median = row.median_ms or 0.0
    low, high = row.interval_ms or (median, median)
    reach = [[max(median - low, 0)], [max(high - median, 0)]]
    axes.barh(y, median, height=height * 0.86, color=color)
    axes.errorbar(median, y, xerr=reach, color=LIGHT["ink"], linewidth=1.1, capsize=2.5, zorder=3)
    axes.text(max(high, median) + longest * 0.012, y, number(median), va="center_baseline")


def throughput_figure(rows: Sequence[BenchRow], width: float) -> Drawing | None:
    """Images a second against the batch, for the first image size; None of a single batch size."""
    measured = [row for row in rows if row.images_per_second is not None]
    rows = [row for row in measured if row.img_size == measured[0].img_size]
    batches = sorted({row.batch_size for row in rows})
    if len(batches) < 2:
        return None
    panels, line_of, colors = _panels(rows, width)
    figure, grid = _grid(list(panels), width, 3, 2.6)
    for axes, members in zip(grid, panels.values(), strict=True):
        for name in dict.fromkeys(map(line_of, members)):
            points = sorted((row.batch_size, row.images_per_second or 0.0) for row in members if line_of(row) == name)
            axes.plot(*zip(*points, strict=True), color=colors[name], marker="o", label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.set_xlabel("batch size")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    top = max(row.images_per_second or 0.0 for row in rows)
    for axes in grid:
        axes.set_ylim(0, 1.06 * top)  # half the height is half as many
    grid[0].set_ylabel("images/s")
    _legend(figure, colors, width)
    alt = f"Images a second at batch sizes {', '.join(map(str, batches))}: at most {number(top)}."
    return Drawing(figure, "Throughput", common_words(rows), alt)


def _panels(
    rows: Sequence[BenchRow], width: float
) -> tuple[dict[str, list[BenchRow]], Callable[[BenchRow], str], dict[str, str]]:
    """Rows by the title of their panel, what the line of a row is called, and each line's colour.

    Networks or ways of running, whichever are fewer, have a panel each, and the others are the lines in it. A peer
    is a line beside every network that it is a peer of, or a way of running like the others.
    """
    ways, names = series_colors(rows), _names(rows, width)
    own = [row for row in rows if row.peer is None] or rows
    models = dict.fromkeys(names[row.name] for row in own)
    if len(series_colors(own)) < len(models):
        lines = dict.fromkeys(names[row.name] for row in rows)
        colors = {name: LIGHT[SERIES[place % len(SERIES)]] for place, name in enumerate(lines)}
        by_way = {way: [row for row in rows if series(row, rows) == way] for way in ways}
        return (by_way if len(by_way) > 1 else {"": list(rows)}), lambda row: names[row.name], colors
    variants = {model: {row.variant for row in own if names[row.name] == model} for model in models}
    by_model = {
        model: [row for row in rows if names[row.name] == model or (row.peer and row.variant in variants[model])]
        for model in models
    }
    return by_model, lambda row: series(row, rows), ways


def accuracy_figure(rows: Sequence[BenchRow], width: float) -> Drawing | None:
    """Top-1 against latency, a panel for each data set; None where no data set has two accuracies."""
    block = [row for row in _first_block(rows) if row.top1 is not None and row.part in (INFERENCE, WHOLE_STEP)]
    by_data: dict[str, list[BenchRow]] = {}
    for row in block:
        by_data.setdefault(measured_on(row) or f"unknown data of {row.name}", []).append(row)
    panels = {data: own for data, own in by_data.items() if len({row.top1 for row in own}) > 1}
    if not panels:
        return None
    titles = told_apart({data: data_name(data) for data in panels})
    figure, grid = _grid([f"on {titles[data]}" for data in panels], width, 2, 3.5 + min(0.05 * len(block), 2.0))
    names, (of_row, colors) = _names(block, width, wrapped=True), series_of(rows)
    points = {
        data: [
            Point(row.median_ms or 0.0, row.top1 or 0.0, names[row.name], colors[of_row[row.label]]) for row in own
        ]
        for data, own in panels.items()
    }
    for axes, shown in zip(grid, points.values(), strict=True):
        for name, color in colors.items():
            line = sorted((point.x, point.y) for point in shown if point.color == color)
            if line:
                axes.plot(*zip(*line, strict=True), color=color, marker="o", markersize=7, label=name)
        _time_axis(axes, [point.x for point in shown])
        axes.margins(x=0.1, y=0.14)
    grid[0].set_ylabel("top-1, %")
    _legend(figure, colors, width)
    figure.draw_without_rendering()
    for axes, shown in zip(grid, points.values(), strict=True):
        label_points(axes, shown)
    alt = "; ".join(f"on {titles[data]} top-1 {_top1s(own)} %" for data, own in panels.items())
    note = _accuracy_note(block, [row for data, own in by_data.items() if data not in panels for row in own])
    return Drawing(figure, "Accuracy against latency", note, f"Accuracy against latency: {alt}.")


def _accuracy_note(rows: Sequence[BenchRow], alone: Sequence[BenchRow]) -> str:
    names, note = short_names(rows), f"{common_words(rows)}."
    if alone:
        left_out = {row.name: f"{names[row.name]} ({row.top1:.1f} % on {_data_of(row)})" for row in alone}
        note += f" Not drawn, since no other accuracy here is on the same data: {', '.join(left_out.values())}."
    if any(row.top1_source == "published" and row.img_size != _PUBLISHED_PX for row in rows):
        note += f" Published accuracies are those at {_PUBLISHED_PX} px."
    return plain(note)


def measured_on(row: BenchRow) -> str | None:
    """The data set that an accuracy is about; None where no file says."""
    return _PUBLISHED if row.top1_source == "published" else row.top1_data


def _data_of(row: BenchRow) -> str:
    return data_name(measured_on(row) or "unknown data")


def _top1s(rows: Iterable[BenchRow]) -> str:
    scores = sorted({row.top1 or 0.0 for row in rows})
    return " to ".join(f"{score:.1f}" for score in dict.fromkeys((scores[0], scores[-1])))


def _time_axis(axes: "Axes", times: Sequence[float]) -> None:
    """Logarithmic where one step takes ten times as long as another."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if max(times) > _LOGARITHMIC * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("ms a step, median")
    axes.grid(visible=True, axis="x")


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
    **{name: engine.title for name, engine in ENGINES.items()},
}


def series_colors(rows: Sequence[BenchRow]) -> dict[str, str]:
    """A colour for each series; peers are grey."""
    colors: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.peer is not None):
        fresh = LIGHT["grey"] if row.peer else LIGHT[SERIES[len(colors) % len(SERIES)]]
        colors.setdefault(series(row, rows), fresh)
    return colors


def series_of(rows: Sequence[BenchRow]) -> tuple[dict[str, str], dict[str, str]]:
    """The series of all that was measured, by label, and its colours: the same in every figure and table."""
    measured = [row for row in rows if row.median_ms is not None]
    return {row.label: series(row, measured) for row in measured}, series_colors(measured)


def _names(rows: Sequence[BenchRow], width: float, wrapped: bool = False) -> dict[str, str]:
    """What a figure calls each model: a peer as its network, and the image size where they differ."""
    peers = {row.name: f"{row.peer} " for row in rows if row.peer}
    whole = {name: short.removeprefix(peers.get(name, "")) for name, short in short_names(rows).items()}
    cuts = ({name: plain(text, limit) for name, text in whole.items()} for limit in (28 if width == WIDE else 22, 60))
    short = next((cut for cut in cuts if len(set(cut.values())) == len(set(whole.values()))), whole)
    sizes = {row.name: f", {row.img_size} px" if "px" in distinctions(rows) else "" for row in rows}
    names = {name: text + sizes[name] for name, text in short.items()}
    line = 28 if width == WIDE else 13
    return {name: textwrap.fill(text, line) for name, text in names.items()} if wrapped else names


def _first_block(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Of the first batch size, each model with its first image size; a peer that of the network it is a peer of."""
    measured = [row for row in rows if row.median_ms is not None]
    sizes = {row.name: row.img_size for row in reversed(measured)}
    own = {row.name: sizes.get(row.name.removeprefix(f"{row.peer} "), sizes[row.name]) for row in measured}
    return [row for row in measured if (row.batch_size, row.img_size) == (measured[0].batch_size, own[row.name])]


def _grid(titles: Sequence[str], width: float, most: int, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure with axes for each title, at most so many in a line, one on a phone."""
    from matplotlib.figure import Figure

    columns = 1 if width < WIDE else 2 if len(titles) == 4 else min(len(titles), most)
    lines = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(width, 0.6 + height * lines))
    grid = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for axes in grid[len(titles) :]:
        axes.remove()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(textwrap.fill(title, _PANEL_TITLE), pad=8)
    return figure, grid[: len(titles)]


def _legend(figure: "Figure", names: Iterable[str], width: float) -> None:
    """Those of the names that are drawn in any of the axes, each once; a single one would tell nothing."""
    drawn = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {label: handle for pair in drawn for handle, label in zip(*pair, strict=True)}
    labels = [name for name in names if name in handles]
    if len(labels) < 2:
        return
    columns = max(1, int(width * 11.5) // (max(map(len, labels)) + 8))  # 8 for the sign and the space around it
    shown = [handles[label] for label in labels]
    figure.legend(shown, labels, loc="outside lower center", ncols=min(len(labels), columns))
