"""The pictures of a benchmark: what is drawn where, that all of it is named, and that no text covers another."""

import itertools

import pytest
from helpers.bench_rows import MACHINE, row
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fastvit_cli.bench.events import BenchResult, BenchRow
from fastvit_cli.ui.bench_figures import latency_figure, throughput_figure

FILES = (
    {"name": "best.onnx", "engine": "onnxruntime"},
    {"name": "best.safetensors", "fuse": "unfused"},
    {"name": "best.safetensors"},
    {"name": "timm fastvit_t8", "fuse": "branches", "peer": "timm"},
)


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


def drawn(rows: list[BenchRow]) -> Figure:
    figure = throughput_figure(BenchResult(MACHINE, tuple(rows), ()))
    assert figure is not None
    return figure


def panels(figure: Figure) -> dict[str, list[str]]:
    """Lines by the title of their panel."""
    return {axes.get_title("left"): [str(line.get_label()) for line in axes.lines] for axes in figure.axes}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


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


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (sweep(*FORMS, *ENGINES), 1),
        (sweep(*FILES), 2),
        (sweep(*ENGINES, variants=("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36")), 5),
        (sweep(*({**way, "dtype": dtype} for way in FORMS for dtype in ("float32", "bfloat16"))), 1),
    ],
)
def test_no_text_covers_another(rows: list[BenchRow], count: int) -> None:
    figure = drawn(rows)
    assert len(figure.axes) == count
    bars = latency_figure(BenchResult(MACHINE, tuple(rows), ()))
    assert bars is not None
    for picture in (figure, bars):
        FigureCanvasAgg(picture).draw()
        texts = [*picture.texts, *picture.legends, *(axes.xaxis.label for axes in picture.axes)]
        texts += [axes._left_title for axes in picture.axes]  # type: ignore[attr-defined]  # has no public name
        boxes = [text.get_window_extent() for text in texts]
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= picture.bbox.x1 for box in boxes)
        covered = [pair for pair in itertools.combinations(boxes, 2) if pair[0].width and pair[0].overlaps(pair[1])]
        assert covered == []
