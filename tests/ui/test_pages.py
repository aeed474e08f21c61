"""Both pages as a browser would meet them: one file that needs nothing else, in one set of colours."""

from __future__ import annotations

import base64
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hatchling.builders.wheel import WheelBuilder
from helpers.bench_rows import MACHINE, row
from helpers.evaluation_models import Colours
from helpers.page import Page
from helpers.tiny_data import draw_tiny_data

from fastvit_cli.bench.events import BenchResult, ComparedRow, Comparison
from fastvit_cli.bench.statistics import Ratio
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.evaluation.results import Validation
from fastvit_cli.evaluation.validate import score
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.runtimes.profile import LayerTime, OperationTime, Profile
from fastvit_cli.ui import palette
from fastvit_cli.ui.bench_report import report_html
from fastvit_cli.ui.figures import drawn, page_figure
from fastvit_cli.ui.report_page import figures_of, page
from fastvit_cli.ui.validation_views import second_score

UI = Path(palette.__file__).parent
NAMES = ("ant", "<b>bee<∕b>", "cow & calf", "$\\frac{1}$ {{7*7}}", "emu\x1b[31m")  # no slash in a folder's name
ENVIRONMENT = {"torch": "2", "fastvit": "1", "python": "3"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    root = draw_tiny_data(tmp_path_factory.mktemp("report") / "photos", train=0, val=5)
    for shape, name in zip(("circle", "cross", "star"), NAMES[:3], strict=True):
        (root / "val" / shape).rename(root / "val" / name)
    model, other = Colours(), Colours(shift=6.0)
    model.info = other.info = replace(model.info, class_names=NAMES)
    config = ValidateConfig(report="there", compare="other.onnx", workers=0)
    run = tmp_path_factory.mktemp("runs") / "20261128-135655-t8"
    run.mkdir()
    (run / "config.yaml").touch()
    data = DataChoice(str(root), root, "")
    return score(config, model, data, str(run / "best.safetensors"), other=other)


@pytest.fixture(scope="module")
def validation_page(found: Validation) -> Page:
    assert found.report is not None
    return Page(page(found.result, found.report, ENVIRONMENT))


@pytest.fixture(scope="module")
def bench_page() -> Page:
    good = [
        row(
            name,
            variant="t8",
            batch_size=batch,
            median_ms=8.0,
            images_per_second=9.0,
            top1=top1,
            top1_source="published",
        )
        for name, top1 in (("fastvit_t8", 76.2), ("<b>&.onnx", 50.0))
        for batch in (1, 8)
    ]
    broken = row("fastvit_sa12", engine="openvino", error="No <script>alert(1)</script> | pip install it")
    layers = (LayerTime("", "FastViT", 20.0), LayerTime("stem", "Conv", 4.0))
    profile = Profile(good[0].label, "by hand", 20.0, layers, (OperationTime("conv2d", 52, 18.0, 0.9, "GPU"),))
    slower = ComparedRow("<i>one</i>", 8.0, 10.0, Ratio(1.25, 1.2, 1.3, True), "slower", beyond_tolerance=True)
    comparison = Comparison("old.json", "2026-01-01", 5.0, ("torch: 1 then, 2 now",), (slower,), ("three",))
    result = BenchResult(MACHINE, (*good, broken), ("It was noisy.",), {"cpu": 1e11}, (profile,), comparison)
    return Page(report_html(result))


@pytest.fixture(params=["validation_page", "bench_page"])
def either(request: pytest.FixtureRequest) -> Page:
    one = request.getfixturevalue(request.param)
    assert isinstance(one, Page)
    return one


def test_a_page_needs_nothing_else(either: Page) -> None:
    assert either.addresses
    assert all(re.match(r"#|data:image/(jpeg|png);base64,", address) for address in either.addresses)
    used = {address for address in either.addresses if address.startswith("#")}
    assert used <= {f"#{given['id']}" for _, given in either.tags if "id" in given}
    assert not re.search(r"https?:|src=\"//|@import|url\((?!#)", either.source)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in either.tags}


def test_what_figures_refer_to_by_name_is_there_once(either: Page) -> None:
    """A clip path of a drawing that is hidden on a phone would hide what refers to it."""
    names = [given["id"] for tag, given in either.tags if tag in ("clippath", "clipPath")]
    assert len(names) == len(set(names))


def test_every_picture_has_words(either: Page) -> None:
    assert len(either.alternatives()) == either.source.count("<svg") + either.source.count("<img")
    assert all(len(words) > 10 for words in either.alternatives())


def test_light_and_dark_and_narrow(either: Page) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [g for _, g in either.tags]
    light, dark = either.source.split("@media (prefers-color-scheme: dark)")[:2]
    for name, (on_light, on_dark) in palette.COLORS.items():
        assert f"--{name}: {on_light};" in light
        assert f"--{name}: {on_dark};" in dark
    assert either.unscrolled == 0, "a wide table scrolls inside itself"
    body = either.source.split("</style>", 1)[1]
    assert set(re.findall(r"#[0-9a-f]{6}\b", body)) <= {"#ffffff", "#000000"}, "colours follow the screen"
    widths = [float(given["viewbox"].split()[2]) for tag, given in either.tags if tag == "svg"]
    shown = [float(re.findall(r"min-width:(\d+)px", given["style"])[0]) for tag, given in either.tags if tag == "svg"]
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?\b([\d.]+)px", body)]
    scales = [width / units for width, units in zip(shown, widths, strict=True)]
    assert min(sizes) * min(scales) > 9.9, "letters can be read on a phone"
    assert min(shown) < 330, "and there is a drawing for one"


def test_colours_are_written_in_one_place_alone() -> None:
    written = {
        path.name
        for path in (*UI.glob("*.py"), *(UI / "templates").iterdir())
        if path.is_file() and re.search(r"#[0-9a-f]{6}\b", path.read_text(encoding="utf-8"))
    }
    assert written == {"palette.py"}
    for light in palette.LIGHT.values():
        assert palette.variables(f"fill: {light}").startswith("fill: var(--")
    assert len(set(palette.LIGHT.values())) == len(palette.LIGHT)


def test_names_are_text_and_not_markup(validation_page: Page, bench_page: Page) -> None:
    for name in NAMES[:4]:
        assert name in validation_page.text
    assert "<b>&.onnx" in bench_page.text
    assert "<script>alert(1)</script>" in bench_page.text
    assert "<i>one</i>" in bench_page.text
    assert not {"b", "i"} & {tag for tag, given in bench_page.tags if not given and tag != "b"}


def test_titles_name_the_run_and_the_data(validation_page: Page, bench_page: Page, found: Validation) -> None:
    assert validation_page.title == "20261128-135655-t8 on photos/val"
    assert found.result.model in validation_page.text, "the whole path is further below"
    assert found.result.data in validation_page.text
    assert bench_page.title == "Latency of t8, <b>&.onnx and fastvit_sa12"


def test_what_the_validation_page_says(validation_page: Page, found: Validation) -> None:
    text, result = validation_page.text, found.result
    assert f"{result.top1:.2f} %" in text
    assert f"95 % interval {result.top1_low:.2f} – {result.top1_high:.2f}" in text
    assert "Compared with other.onnx (colours)" in text
    assert "All 5 classes" in text
    assert result.comparison is not None
    assert f"{result.comparison.top1_difference:+.2f} points" in text
    assert any(re.fullmatch(r".+ taken for .+", words) for words in validation_page.alternatives())


def test_five_classes_have_a_chance_level_and_six_a_top_5(validation_page: Page, found: Validation) -> None:
    assert "top-5" not in validation_page.text
    assert "chance level" in validation_page.text
    assert second_score(found.result) == ("chance level", "20.00 %")
    six = replace(found.result, classes=(*found.result.classes, found.result.classes[0]))
    assert second_score(six) == ("top-5", f"{six.top5:.2f} %")


def test_many_classes_get_a_picture_and_no_mistakes_a_word(found: Validation) -> None:
    assert found.report is not None
    many = replace(found.result, classes=found.result.classes * 14, comparison=None)
    wide = replace(found.report, confusion=torch.eye(70, dtype=torch.int64), mistakes=())
    parsed = Page(page(many, wide, ENVIRONMENT))
    pictures = [address for address in parsed.addresses if address.startswith("data:")]
    assert len(pictures) == 2, "the matrix, wide and narrow"
    assert all(base64.b64decode(one.split(",")[1]).startswith(b"\x89PNG") for one in pictures)
    assert "every image was recognised" in parsed.text
    assert "Confusion matrix of 70 classes: 70 of 70 images are on the diagonal." in parsed.alternatives()
    assert "Confusion matrix" not in Page(page(many, replace(wide, confusion=None), ENVIRONMENT)).text


def test_a_figure_is_drawn_by_one_function_for_page_and_file(found: Validation) -> None:
    assert found.report is not None
    draw = figures_of(found.result, found.report)["confusion"]
    drawing, shown = drawn(draw), page_figure(draw)
    assert drawing is not None
    assert shown is not None
    counts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert sum(map(int, counts)) == found.result.num_images
    for drawing_of_page in filter(None, (shown.wide, shown.narrow)):
        assert all(f">{count}</text>" in drawing_of_page for count in counts)


def test_what_the_bench_page_says(bench_page: Page) -> None:
    text = " ".join(bench_page.text.split())
    for words in ("It was noisy.", "slower, beyond tolerance", "Only then: three", "conv2d", "ImageNet-1k", "a CPU"):
        assert words in text
    (error,) = [given for tag, given in bench_page.tags if given.get("class") == "error"]
    assert error["colspan"].isdigit()


def test_the_wheel_holds_the_templates(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]  # not where the package may be installed
    (wheel,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if name.startswith("fastvit_cli/ui/templates/")}
    assert packed == {path.name for path in (root / "fastvit_cli/ui/templates").iterdir()}
    assert {"page.html", "page.css", "macros.html", "validation.html", "bench.html", "check.html"} == packed
