"""How a benchmark looks: every figure of the rows, at any width, in every file."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.bench_rows import MACHINE, row
from PIL import Image
from rich.console import Console

from fastvit_cli.bench.events import (
    BenchResult,
    BenchRow,
    BenchRun,
    ComparedRow,
    Comparison,
    RoundDone,
    SubjectMeasured,
    SubjectStarted,
)
from fastvit_cli.bench.statistics import Ratio
from fastvit_cli.runtimes.profile import LayerTime, OperationTime, Profile
from fastvit_cli.ui.bench_figures import accuracy_figure, latency_figure, series, throughput_figure
from fastvit_cli.ui.bench_files import markdown, write_bench_files
from fastvit_cli.ui.bench_tables import baseline_text, common_words, distinctions, layer_tree, short_names
from fastvit_cli.ui.bench_views import BenchView, bench_view
from fastvit_cli.ui.figures import WIDE
from fastvit_cli.ui.session import Session

ROUNDS = ((1_000_000, 2_000_000), (3_000_000,))


def timed(variant: str, engine: str, ms: float, batch: int = 1, peer: str | None = None) -> BenchRow:
    return row(
        f"{peer} fastvit_{variant}" if peer else f"fastvit_{variant}",
        engine=engine,
        batch_size=batch,
        fuse="branches" if peer else "all",
        variant=variant,
        peer=peer,
        median_ms=ms,
        interval_ms=(0.9 * ms, 1.1 * ms),
        p90_ms=1.2 * ms,
        p99_ms=1.3 * ms,
        mean_ms=ms,
        trimmed_mean_ms=ms,
        images_per_second=batch / ms * 1e3,
        params=4_000_000,
        flops=1e11,
        peak_share=0.4,
        top1={"t8": 76.2, "t12": 79.3}[variant],
        top1_source="published",
    )


@pytest.fixture(scope="module")
def result() -> BenchResult:
    rows = []
    for batch in (1, 8):
        for variant, ms in (("t8", 8.0), ("t12", 13.0)):
            base = timed(variant, "torch", 1.7 * ms * batch, batch, "timm")
            base = replace(base, baseline=base.label)
            for engine, factor in (("torch", 1.3), ("onnxruntime", 0.8)):
                ratio = Ratio(factor / 1.7, factor / 1.8, factor / 1.6, significant=True)
                rows.append(
                    replace(timed(variant, engine, factor * ms * batch, batch), baseline=base.label, ratio=ratio)
                )
            rows.append(base)
    broken = row("fastvit_<b>&", engine="openvino", error="openvino is not installed | pip install openvino")
    layers = (LayerTime("", "FastViT", 20.0), LayerTime("stem", "Sequential", 4.0), LayerTime("stem.0", "Conv", 3.0))
    profile = Profile(
        rows[0].label, "by hand", 20.0, layers, (OperationTime("conv2d", 52, 18.0, 0.9, "Neural Engine"),)
    )
    compared = (
        ComparedRow("one", 8.0, 10.0, Ratio(1.25, 1.2, 1.3, significant=True), "slower", beyond_tolerance=True),
        ComparedRow("two", 8.0, 8.0, Ratio(1.0, 0.99, 1.01, significant=False), "same", beyond_tolerance=False),
    )
    comparison = Comparison("old.json", "2026-01-01", 5.0, ("torch: 1 then, 2 now",), compared, ("three",))
    return BenchResult(MACHINE, (*rows, broken), ("It was noisy.",), {"cpu float32": 1e11}, (profile,), comparison)


def shown(result: BenchResult, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(bench_view(result))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_view_fits_and_says_everything(result: BenchResult, width: int) -> None:
    text = shown(result, width)
    assert max(map(len, text.splitlines())) <= width
    plain = " ".join(text.split())
    assert "timm t12" in plain
    assert "0.76" in plain
    assert "float32, 64 px" in plain, "what all rows agree in stands in the title"
    assert "openvino is not installed" in plain
    assert "timm's network of the same variant, batch and size" in plain
    assert "It was noisy." in plain
    assert "100 GFLOP/s on cpu float32" in plain
    assert "slower, beyond tolerance" in plain
    assert "1 of 2 rows are the same; 1 slower beyond 5 %." in plain
    assert "! torch: 1 then, 2 now" in plain
    assert "Only then: three" in plain
    assert "! Only then" not in plain, "fewer rows were asked for"
    assert ("[0.72, 0.81]" in plain) == (width == 120)
    engine_column = [line.split() for line in text.splitlines() if line.strip().startswith("t8 ")]
    assert all("torch" in words or "onnxruntime" in words for words in engine_column), "names are not broken"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_rows_can_be_told_apart_at_any_width(result: BenchResult, width: int) -> None:
    """Slow models, so that figures are wide, and everything that rows can differ in."""
    rows = [
        replace(one, median_ms=1e3 * (one.median_ms or 0), p90_ms=123456.0, p99_ms=123456.0, img_size=256 // size)
        for one, size in zip(result.results[:-1], (1, 2) * 6, strict=True)
    ]
    text = shown(replace(result, results=tuple(rows), profiles=(), comparison=None), width)
    assert max(map(len, text.splitlines())) <= width
    latency = text[: text.index("± is half")]
    for words in ("model", "engine", "batch", "px", "median ms", "× base", "onnxruntime", "timm t12", "176,800"):
        assert words in latency
    lines = [line.split() for line in latency.splitlines() if line.strip()]
    told = [tuple(line[: 5 if line[0] == "timm" else 4]) for line in lines if line[0] in ("t8", "t12", "timm")]
    assert width == 40 or len(told) == len(set(told)) == len(rows), "one line a row; at 40 one list"


def test_what_rows_agree_in_is_not_repeated() -> None:
    rows = [timed("t8", "torch", 8.0), timed("t12", "torch", 13.0)]
    assert common_words(rows) == "torch, all fused, float32, batch 1, 64 px"
    assert (
        common_words([*rows, timed("t8", "torch", 9.0, peer="timm")]) == "torch, all fused, float32, batch 1, 64 px"
    )
    assert common_words([*rows, timed("t8", "onnxruntime", 9.0, batch=8)]) == "all fused, float32, 64 px"
    larger = [*rows, replace(timed("t8", "torch", 9.0, peer="timm"), img_size=256)]
    assert common_words(larger) == "torch, all fused, float32, batch 1"
    assert list(distinctions(larger)) == ["px"], "also where it is the peer that differs"
    lost = row("lost", img_size=None, error="gone")
    assert common_words([lost, *rows]) == "torch, all fused, float32, batch 1, 64 px"


def test_names_are_short_and_never_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    for name in ("best.safetensors", "best.onnx"):
        (run / name).touch()
    names = ["fastvit_t8", "timm fastvit_t8", "hf-hub:org/name", "runs/mine/best.safetensors", "runs/mine/best.onnx"]
    rows = [row(name, variant="t8") for name in (*names, "/a/two.onnx", "/b/two.onnx", "/c/one.onnx")]
    monkeypatch.chdir(tmp_path)
    short = ["t8", "timm t8", "hf-hub:org/name", "mine", "mine/best.onnx", "/a/two.onnx", "/b/two.onnx", "one.onnx"]
    assert list(short_names(rows).values()) == short
    monkeypatch.chdir(run)
    assert short_names([row("best.safetensors")]) == {"best.safetensors": "mine"}


def test_what_ratios_are_to() -> None:
    base = timed("t8", "torch", 8.0)
    ratio = Ratio(1.0, None, None, significant=False)
    one = [base, replace(timed("t12", "torch", 9.0), ratio=ratio, baseline=base.label)]
    assert baseline_text(one) == base.label
    other = timed("t12", "torch", 8.0)
    two = [*one, replace(timed("t12", "onnxruntime", 9.0), ratio=ratio, baseline=other.label)]
    assert baseline_text(two) == "the row most like it of torch, all, float32, batch 1, 64 px"
    assert baseline_text([base]) == ""


def test_the_tree_keeps_the_most_expensive_and_what_is_above_them() -> None:
    names = ("", "a", "a.b", "a.b.c", "a.d", "e")
    layers = [LayerTime(name, "", ms) for name, ms in zip(names, (10.0, 8.0, 1.0, 7.0, 0.5, 2.0), strict=True)]
    assert [layer.name for layer in layer_tree(layers, 3)] == ["", "a", "a.b", "a.b.c"]


def test_the_files(result: BenchResult, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    samples = tuple(() if one.error else ROUNDS for one in result.results)
    write_bench_files(folder, BenchRun(result, samples, ('{"traceEvents": []}',)), {"schema": 1, "result": result})
    names = {path.name for path in folder.iterdir()}
    pictures = {"accuracy.png", "latency.png", "throughput.png"}
    assert names >= {"results.json", "results.csv", "samples.csv", "results.md", "report.html"} | pictures
    (trace,) = (name for name in names if name.startswith("trace"))
    assert json.loads((folder / trace).read_text()) == {"traceEvents": []}
    document = json.loads((folder / "results.json").read_text())["result"]
    assert [one["name"] for one in document["results"]] == [one.name for one in result.results]
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [one["error"] for one in rows] == [one.error or "" for one in result.results]
    assert float(rows[0]["interval_low_ms"]) == pytest.approx(0.9 * 1.3 * 8)
    assert float(rows[0]["ratio_value"]) == pytest.approx(1.3 / 1.7)
    taken = list(csv.DictReader((folder / "samples.csv").open()))
    first = [(one["round"], one["nanoseconds"]) for one in taken if one["row"] == "0"]
    assert first == [("1", "1000000"), ("1", "2000000"), ("2", "3000000")]
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 800
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 20, "not an empty canvas"


def test_traces_of_long_and_alike_names_are_files_of_their_own(result: BenchResult, tmp_path: Path) -> None:
    (profile,) = result.profiles
    alike = tuple(replace(profile, label=f"{'x' * 300}{end}") for end in "ab")
    run = BenchRun(replace(result, profiles=alike), ((),) * len(result.results), ("{}", "{}"))
    write_bench_files(tmp_path, run, {})
    traces = sorted(path.name for path in tmp_path.glob("trace-*"))
    assert traces == [f"trace-{place}-{'x' * 100}.json" for place in (1, 2)]


def test_markdown_is_a_table(result: BenchResult) -> None:
    lines = [line for line in markdown(result).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(result.results)
    columns = lines[0].count("|")
    assert all(line.replace("\\|", "").count("|") == columns for line in lines[:-1])
    assert "installed \\| pip" in lines[-1]


def test_pictures_without_anything_to_draw(result: BenchResult) -> None:
    failed = replace(result, results=tuple(one for one in result.results if one.error))
    draws = (latency_figure, accuracy_figure, throughput_figure)
    assert [draw(failed.results, WIDE) for draw in draws] == [None] * 3
    assert "no figures" not in shown(failed, 80)
    single = replace(result, results=result.results[:1])
    assert throughput_figure(single.results, WIDE) is None, "a single batch size"
    assert accuracy_figure(single.results, WIDE) is None, "a single accuracy"


def test_a_series_is_a_way_of_running(result: BenchResult) -> None:
    measured = [one for one in result.results if not one.error]
    assert {series(one, measured) for one in measured} == {"PyTorch", "ONNX Runtime", "timm"}
    assert {series(one, measured[:1]) for one in measured[:1]} == {"fastvit"}


def test_the_listener_prints_a_line_a_subject_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    one = timed("t8", "torch", 8.0)
    with BenchView(Session("bench")) as view:
        view(SubjectStarted(row(), 1, 2))
        view(RoundDone((one,), 1, 20))
        view(RoundDone((one,), 2, 20))
        view(SubjectMeasured((one,)))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Loading and warming up 1 of 2: mine, torch, all, float32, batch 1, 64 px …",
        "Timing, round 1 of 20 …",
    ]


def test_on_a_terminal_the_table_fills_while_it_runs() -> None:
    session = Session("bench")
    drawn = io.StringIO()
    session.stderr = Console(file=drawn, force_terminal=True, width=100, highlight=False)
    with BenchView(session) as view:
        view(SubjectStarted(replace(row(), name="first"), 1, 1))
        before = drawn.getvalue()
        view(RoundDone((replace(row(), name="first", median_ms=4.25),), 1, 20))
    assert "Loading and warming up 1 of 1" in before
    assert "4.25" not in before
    after = drawn.getvalue()[len(before) :]
    assert "4.25" in after
    assert "Timing, round 1 of 20" in after
