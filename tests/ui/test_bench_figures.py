"""The figures of a benchmark: what is drawn where, that all of it is named, and that no text covers another."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from helpers.bench_rows import row
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.ui.bench_figures import accuracy_figure, latency_figure, series, series_of, throughput_figure
from fastvit_cli.ui.figures import NARROW, WIDE, Drawing
from fastvit_cli.ui.figures import drawn as in_style

FILES = (
    {"name": "best.onnx", "engine": "onnxruntime"},
    {"name": "best.safetensors", "fuse": "unfused"},
    {"name": "best.safetensors"},
    {"name": "timm fastvit_t8", "fuse": "branches", "peer": "timm"},
)
FAMILY = {"t8": 76.2, "t12": 79.3, "s12": 79.9, "sa12": 80.9, "sa24": 82.7, "sa36": 83.6, "ma36": 83.9}
PUBLISHED = {name: {"variant": name, "top1": top1, "top1_source": "published"} for name, top1 in FAMILY.items()}


def sweep(*ways: dict[str, str], variants: tuple[str, ...] = ("t8",), size: int = 64) -> list[BenchRow]:
    """Each way of running with two batch sizes, of each variant unless it has a name of its own."""
    return [
        row(
            **{"name": f"fastvit_{variant}", "variant": variant, "img_size": size, **way},
            batch_size=batch,
            median_ms=8.0 * batch,
            interval_ms=(7.0 * batch, 9.0 * batch),
            images_per_second=125.0,
        )
        for batch in (1, 8)
        for variant in variants
        for way in ways
    ]


def scored(name: str, ms: float, top1: float, data: str | None, **more: Any) -> BenchRow:
    """A file with an accuracy on its own data."""
    measured = {"top1": top1, "top1_source": "measured", "top1_data": data}
    return row(name, **{"median_ms": ms, "img_size": 256, **measured, **more})


def published(engines: dict[str, float]) -> list[BenchRow]:
    """The family on some engines, each so many times as fast as the first."""
    times = dict(zip(FAMILY, (8.0, 13.0, 14.0, 17.0, 30.0, 45.0, 70.0), strict=True))
    return [
        row(f"fastvit_{name}", engine=engine, img_size=256, median_ms=factor * times[name], **PUBLISHED[name])
        for name in FAMILY
        for engine, factor in engines.items()
    ]


def shown(draw: Callable[..., Drawing | None], rows: list[BenchRow], width: float = WIDE) -> Drawing:
    drawing = in_style(partial(draw, rows), width)
    assert drawing is not None
    return drawing


def drawn(rows: list[BenchRow], width: float = WIDE) -> Figure:
    return shown(throughput_figure, rows, width).figure


def panels(figure: Figure) -> dict[str, list[str]]:
    """Lines by the title of their panel."""
    return {axes.get_title("left"): [str(line.get_label()) for line in axes.lines] for axes in figure.axes}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def names_at_points(figure: Figure) -> list[list[Text]]:
    """Of each panel; the lines to far points have no text."""
    return [[text for text in axes.texts if text.get_text()] for axes in figure.axes]


def test_every_line_is_named_and_a_peer_is_beside_each_of_its_networks() -> None:
    figure = drawn(sweep(*FILES) + sweep(*FILES, size=128))
    ways = ["ONNX Runtime, all fused", "PyTorch, unfused", "PyTorch, all fused", "timm"]
    assert legend(figure) == ways
    assert panels(figure) == {"best.onnx": [ways[0], "timm"], "best.safetensors": ways[1:]}
    points = [list(line.get_xdata()) for axes in figure.axes for line in axes.lines]
    assert points == [[1, 8]] * 5, "of one image size"


def test_of_more_networks_than_ways_of_running_each_way_has_a_panel() -> None:
    variants = ("t8", "t12", "s12")
    rows = sweep({}, {"engine": "openvino"}, variants=variants)
    rows += [one for name in variants for one in sweep({"name": f"timm {name}", "peer": "timm"}, variants=(name,))]
    figure = drawn(rows)
    assert panels(figure) == {way: list(variants) for way in ("PyTorch", "OpenVINO", "timm")}
    assert legend(figure) == list(variants)
    assert panels(drawn(sweep({}, variants=variants))) == {"": list(variants)}


ENGINES = [{"engine": engine} for engine in ("torch", "compile", "onnxruntime", "openvino", "coreml")]
FORMS = [{"engine": engine, "fuse": form} for engine in ("torch", "onnxruntime") for form in ("unfused", "branches")]


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (sweep(*FORMS, *ENGINES), 1),
        (sweep(*FILES), 2),
        (sweep(*ENGINES, variants=tuple(FAMILY)), 5),
        (sweep(*({**way, "dtype": dtype} for way in FORMS for dtype in ("float32", "bfloat16"))), 1),
    ],
)
def test_no_text_covers_another(rows: list[BenchRow], count: int, width: float) -> None:
    figure = drawn(rows, width)
    assert len(figure.axes) == count
    bars = shown(latency_figure, rows, width)
    for picture in (figure, bars.figure):
        FigureCanvasAgg(picture).draw()
        texts = [*picture.texts, *picture.legends, *(axes.xaxis.label for axes in picture.axes)]
        texts += [axes._left_title for axes in picture.axes]  # type: ignore[attr-defined]  # has no public name
        boxes = [text.get_window_extent() for text in texts]
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= picture.bbox.x1 for box in boxes)
        covered = [pair for pair in itertools.combinations(boxes, 2) if pair[0].width and pair[0].overlaps(pair[1])]
        assert covered == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("engines", [{"torch": 1.0}, {"torch": 1.0, "onnxruntime": 0.5, "compile": 0.7}])
def test_every_point_has_its_name_inside_the_axes_where_no_other_is(engines: dict[str, float], width: float) -> None:
    drawing = shown(accuracy_figure, published(engines), width)
    FigureCanvasAgg(drawing.figure).draw()
    (axes,), (names,) = drawing.figure.axes, names_at_points(drawing.figure)
    assert sorted(name.get_text() for name in names) == sorted(list(FAMILY) * len(engines))
    boxes = [name.get_window_extent() for name in names]
    frame = axes.bbox.padded(0.5)
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    times = [x for line in axes.lines for x in line.get_xdata()]
    air = 0.11 * (max(times) - min(times))
    left, right = axes.get_xlim()
    assert max(0.0, min(times) - air) < left < right < 1.4 * max(times), "axes start where the data do"


def test_points_that_lie_on_each_other_are_named_once() -> None:
    drawing = shown(accuracy_figure, published({"torch": 1.0, "compile": 1.001}))
    assert len(names_at_points(drawing.figure)[0]) == len(FAMILY)


def test_accuracies_on_different_data_have_axes_of_their_own() -> None:
    """Two classes are easier than a thousand."""
    own = [scored("a.onnx", 5.0, 97.0, "/home/me/ants-bees"), scored("b.onnx", 9.0, 99.0, "/home/me/ants-bees")]
    alone = [scored("c.onnx", 6.0, 88.0, "/home/me/photos"), scored("d.onnx", 7.0, 50.0, None)]
    drawing = shown(accuracy_figure, [*own, *published({"torch": 1.0}), *alone, scored("e.onnx", 7.0, 60.0, None)])
    by_title = {axes.get_title("left"): axes for axes in drawing.figure.axes}
    assert list(by_title) == ["on ants-bees", "on ImageNet-1k"]
    low, high = by_title["on ants-bees"].get_ylim()
    assert 96.0 < low < high < 100.0
    assert [text.get_text() for text in names_at_points(drawing.figure)[0]] == ["a.onnx", "b.onnx"]
    assert "Not drawn" in drawing.note
    assert "c.onnx (88.0 % on photos)" in drawing.note
    assert "d.onnx (50.0 % on unknown data)" in drawing.note
    assert accuracy_figure([*own[:1], *alone], WIDE) is None, "no two on the same data"


def test_published_accuracies_beside_times_at_another_size_are_said_to_be_of_256_px() -> None:
    rows = [row(f"fastvit_{name}", median_ms=8.0, img_size=64, **PUBLISHED[name]) for name in ("t8", "t12")]
    drawing, usual = shown(accuracy_figure, rows), shown(accuracy_figure, published({"torch": 1.0}))
    assert "those at 256 px" in drawing.note
    assert "256 px." in usual.note
    assert "those at" not in usual.note


def test_models_of_different_sizes_stand_side_by_side_and_a_peer_beside_its_own() -> None:
    mine = row("run.safetensors", variant="t8", img_size=96, median_ms=2.0)
    theirs = row("fastvit_t8", variant="t8", img_size=256, median_ms=8.0)
    peers = [row("timm fastvit_t8", variant="t8", peer="timm", img_size=size, median_ms=9.0) for size in (96, 256)]
    drawing = shown(latency_figure, [mine, *peers, theirs])
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == ["run.safetensors, 96 px", "t8, 256 px"]


def test_names_that_are_cut_can_still_be_told_apart() -> None:
    rows = [row(f"weights-of-the-{place}th-fold-{'x' * 30}.onnx", median_ms=8.0) for place in range(3)]
    drawing = shown(latency_figure, rows)
    assert len({label.get_text() for label in drawing.figure.axes[0].get_yticklabels()}) == 3


def test_a_series_has_one_colour_wherever_it_is_drawn() -> None:
    """Also where one of the series failed with the first batch size."""
    rows = sweep(*ENGINES[:3], variants=("t8", "t12"))
    rows = [one for one in rows if (one.engine, one.batch_size) != ("torch", 1)]
    of_row, colors = series_of(rows)
    assert {of_row[one.label] for one in rows} == set(colors) == {"PyTorch", "torch.compile", "ONNX Runtime"}
    drawing = shown(latency_figure, rows)
    handles, labels = drawing.figure.axes[0].get_legend_handles_labels()
    drawn_in = {label: handle.patches[0].get_facecolor() for label, handle in zip(labels, handles, strict=True)}
    assert drawn_in.keys() == {series(one, rows) for one in rows if one.batch_size == 1}
    assert drawn_in == {label: to_rgba(colors[label]) for label in drawn_in}
