"""`fastvit validate` and `fastvit predict` as typed, on a real network of 64 px."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
from helpers.loaded import CLASS_NAMES, loaded_model, saved_model
from helpers.photo import photo
from helpers.program import run
from PIL import Image

from fastvit_cli.app import main
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.data.demo_drawing import draw_image

pytestmark = pytest.mark.quick

SHAPES = ("circle", "cross", "star", "heart", "ring")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a broken one, and images of its five classes."""
    place = tmp_path_factory.mktemp("place")
    (place / "models").mkdir()
    saved_model(place / "models" / "good.safetensors")
    (place / "models" / "broken.safetensors").write_bytes(b"not tensors")
    for name, shape in zip(CLASS_NAMES, SHAPES, strict=True):
        folder = place / "photos" / "val" / name
        folder.mkdir(parents=True)
        for index in range(2):
            draw_image("val", shape, index).save(folder / f"{index}.jpg", quality=90)
    return place


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def odd(place: Path) -> Path:
    """Images of classes and files whose names are no text."""
    odd = place / "odd"
    try:
        for name, shape in zip((os.fsdecode(b"caf\xe9"), *CLASS_NAMES[1:]), SHAPES, strict=True):
            (odd / "val" / name).mkdir(parents=True)
            draw_image("val", shape, 0).save(odd / "val" / name / os.fsdecode(b"\xff.png"))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    loaded = loaded_model("t8", class_names=None)  # takes the folders in their order
    save_checkpoint(place / "nameless.safetensors", loaded.network, loaded.info)
    return odd


GOOD = ("--ckpt", "models/good.safetensors")
DATA = ("--data", "photos", "--workers", 0)


def test_engines_score_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    own = run(capsys, "validate", *GOOD, *DATA, "--engine", "torch", "--json").result
    auto = run(capsys, "validate", *GOOD, *DATA, "--json").result
    assert "as it is in the file" in own["engine_reason"]
    assert "all folded, while the file is unfused" in auto["engine_reason"]
    assert (auto["engine"], auto["fused"], auto["own_form"], own["own_form"]) == ("torch", False, False, True)
    assert auto["top1"] == own["top1"]
    assert auto["loss"] == pytest.approx(own["loss"], rel=1e-5)


def test_report_and_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("validate", *GOOD, *DATA, "--report", "report", "--compare", "models/good.safetensors")
    outcome = run(capsys, *words)
    assert outcome.code == 0, outcome.err
    assert "95 % interval" in outcome.out
    assert "Compared with models/good.safetensors" in outcome.out
    assert "100.00 % of 10 images" in outcome.out
    assert "report/index.html" in outcome.err
    envelope = json.loads(Path("report/results.json").read_text())
    assert envelope["command"] == "validate"
    assert envelope["result"]["comparison"]["num_flips"] == 0


def test_a_folder_of_models_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "validate", "--ckpt", "models", *DATA, "--output", "table.csv")
    assert outcome.code == 0, "one of them could be scored"
    assert "models/broken.safetensors: " in outcome.out
    good, broken = csv.DictReader(Path("table.csv").read_text().splitlines())
    assert (good["model"], good["error"]) == ("models/good.safetensors", "")
    assert float(good["top1_low"]) <= float(good["top1"]) <= float(good["top1_high"])
    assert broken["error"]
    assert broken["top1"] == ""
    run(capsys, "validate", "--ckpt", "models/*", *DATA, "--output", "table.md", "--quiet")
    lines = Path("table.md").read_text().splitlines()
    assert lines[0].startswith("| model | variant | top-1 %")
    assert len(lines) == 4
    failed = run(capsys, "validate", "--ckpt", "models/b*", *DATA, "--json")
    assert failed.code == 1
    assert [row["top1"] for row in failed.document["result"]["rows"]] == [None]


def test_where_a_table_goes_is_looked_at_before_the_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.csv").write_text("precious")
    Path("link.csv").symlink_to("gone.csv")
    words = ("validate", "--ckpt", "models/b*", *DATA, "--output")
    with monkeypatch.context() as patch:
        patch.setattr("fastvit_cli.evaluation.bulk.validate_all", lambda *_: pytest.fail("it was validated"))
        for output, message in (
            ("mine.csv", "'mine.csv' exists"),
            ("link.csv", "'link.csv' exists"),
            ("mine.csv/t.csv", "Cannot write to 'mine.csv'"),
        ):
            refused = run(capsys, *words, output)
            assert refused.code == 2
            assert message in refused.err
    assert Path("mine.csv").read_text() == "precious"
    run(capsys, *words, "mine.csv", "--force")
    assert "models/broken.safetensors" in Path("mine.csv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*GOOD, "--output", "t.csv"), "--output is for the table of several models"),
        (("--ckpt", "models", "--report", "r"), "--report is about one model"),
        (("--ckpt", "models", "--output", "t.xls"), "is of no known kind"),
        (("--ckpt", "nothing*"), "holds no model"),
        ((*GOOD, "--engine", "coreml"), "cannot run on coreml"),
        ((*GOOD, "--engine", "tensorrt"), "--engine does not take 'tensorrt'"),
        ((*GOOD, "--compare", "none.onnx"), "no file 'none.onnx'"),
        ((*GOOD, "--valid-labels", "none.txt"), "'none.txt' cannot be read"),
        ((*GOOD, "--real-labels", "none.json"), "'none.json' cannot be read"),
        ((*GOOD, "--report", "photos"), "other things than a report"),
    ],
)
def test_wrong_options(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "validate", *words, *DATA)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


def test_predict_says_what_validate_counted(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "predict", "photos", *GOOD, "--top-k", 2, "--format", "csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["rank"] for row in rows] == ["1", "2"] * 10
    probabilities = [float(row["probability"]) for row in rows]
    assert all(first >= then for first, then in zip(probabilities[::2], probabilities[1::2], strict=True))
    hits = sum(Path(row["image"]).parent.name == row["class"] for row in rows[::2])
    assert run(capsys, "validate", *GOOD, *DATA, "--json").result["top1"] == 10.0 * hits


def test_predict_turns_images_upright_and_names_unreadable_ones(capsys: pytest.CaptureFixture[str]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    photo().save("upright.png")
    photo().rotate(180).save("turned.png", exif=turned)
    Path("bad.png").write_bytes(b"no image")
    outcome = run(capsys, "predict", "upright.png", "turned.png", "bad.png", *GOOD, "--format", "jsonl", "--quiet")
    assert outcome.code == 0
    upright, same, bad = map(json.loads, outcome.out.splitlines())
    assert same["guesses"] == upright["guesses"]
    assert len(upright["guesses"]) == 5, "as many as there are classes"
    assert sum(guess["probability"] for guess in upright["guesses"]) == pytest.approx(1.0)
    assert (bad["guesses"], bad["error"]) == ([], "no image of a known kind")
    failed = run(capsys, "predict", "bad.png", *GOOD)
    assert failed.code == 1
    assert "no image of a known kind" in failed.out


def test_predict_json_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("predict", "photos/val/ant/*.jpg", "photos/val/ant/0.jpg", *GOOD, "--json")
    images = run(capsys, *words).result["images"]
    assert [Path(row["image"]).name for row in images] == ["0.jpg", "1.jpg"], "each once"
    mistakes = (((), "No image is named"), (("none.jpg",), "no image 'none.jpg'"), (("models",), "no images"))
    for arguments, message in mistakes:
        outcome = run(capsys, "predict", *arguments, *GOOD)
        assert outcome.code == 2
        assert message in outcome.err


def test_names_that_are_no_text_cost_no_result(capsys: pytest.CaptureFixture[str], odd: Path) -> None:
    words = ("--ckpt", "nameless.safetensors", "--data", odd, "--workers", 0)
    outcome = run(capsys, "validate", *words, "--report", "odd-report")
    assert outcome.code == 0, outcome.err
    assert "caf\\udce9" in outcome.out
    document = json.loads(Path("odd-report/results.json").read_text(encoding="utf-8"))
    assert "caf\\udce9" in [row["name"] for row in document["result"]["classes"]]
    assert "caf\\udce9" in Path("odd-report/index.html").read_text(encoding="utf-8")
    rows = list(csv.DictReader(Path("odd-report/predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert [Path(row["image"]).name for row in rows] == ["\\udcff.png"] * 5


@pytest.mark.parametrize("format_", [("--format", "table"), ("--format", "csv"), ("--format", "jsonl"), ("--json",)])
def test_predict_shows_names_that_are_no_text(
    format_: tuple[str, ...], capsys: pytest.CaptureFixture[str], odd: Path
) -> None:
    outcome = run(capsys, "predict", Path(os.path.relpath(odd)) / "val" / "bee", *GOOD, *format_)
    assert outcome.code == 0, outcome.err
    assert "udcff.png" in outcome.out
    if format_ == ("--format", "csv"):
        (name,) = {row["image"] for row in csv.DictReader(io.StringIO(outcome.out))}
        assert Path(name).name == "\\udcff.png"


def test_control_characters_of_names_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, notes, errors and reports: they would clear the screen, or make two lines of one."""
    wild = "c\x1b[2Jo\nw\t"
    for name, shape in zip(("ant", "bee", wild, "dog", "emu"), SHAPES, strict=True):
        folder = Path("wild/val") / name
        folder.mkdir(parents=True)
        draw_image("val", shape, 0).save(folder / "0.jpg", quality=90)
    Path("wild/val", wild, "1\x1b.jpg").write_bytes(b"no image")
    loaded = loaded_model("t8", class_names=("ant", "bee", wild, "dog", "emu"))
    save_checkpoint(Path("wild.safetensors"), loaded.network, loaded.info)
    mine = ("--ckpt", "wild.safetensors")
    data = ("--data", "wild", "--workers", 0, "--max-bad-images", 50)
    outcomes = [
        run(capsys, "validate", *mine, *data, "--report", "wild-report"),
        run(capsys, "validate", *GOOD, *data),
        run(capsys, "validate", *data, "--check-data"),
        run(capsys, "predict", "wild/val", *mine, "--top-k", 5),
        run(capsys, "validate", "--ckpt", "wild*.safetensors", *data),
        run(capsys, "train", "--data", "no\x1bwhere"),
    ]
    assert [outcome.code for outcome in outcomes] == [0, 2, 1, 0, 0, 2]
    page = Path("wild-report/index.html").read_text(encoding="utf-8")
    for text in (*(outcome.out + outcome.err for outcome in outcomes), page):
        assert "\x1b" not in text
    shown = "c\\x1b[2Jo\\nw\\t"
    for text in (outcomes[0].out, outcomes[0].err, outcomes[1].err, outcomes[3].out, page):
        assert shown in text
    document = run(capsys, "validate", *mine, *data, "--json").result
    assert wild in [row["name"] for row in document["classes"]], "JSON has escapes of its own"


@pytest.mark.parametrize("words", [("validate", *DATA), ("predict", "photos")])
def test_a_terminal_that_lacks_characters_costs_no_result(
    words: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding in ("latin-1", "ascii"):
        shown = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding, write_through=True))
        assert main([*map(str, words), *GOOD, "--quiet"]) == 0
        assert b"\\u2" in shown.getvalue(), "an en dash, or a block of a bar"


def test_json_stays_json_where_a_terminal_lacks_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("é 🦋").mkdir()
    photo().save("é 🦋/ant.png")
    for format_ in (("--json",), ("--format", "jsonl")):
        shown = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii", write_through=True))
        assert main(["predict", "é 🦋/ant.png", *GOOD, "--quiet", *format_]) == 0, capsys.readouterr().err
        document = json.loads(shown.getvalue())
        assert document.get("result", {"images": [document]})["images"][0]["image"] == str(Path("é 🦋/ant.png"))


def test_an_embedding_is_not_taken_for_classes(
    tmp_path: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MobileCLIP's image encoders end in 512 numbers that are no classes."""
    from fastvit_cli.checkpoints.save import save_checkpoint
    from fastvit_cli.checkpoints.select import random_model

    model = tmp_path / "mci0.safetensors"
    loaded = random_model("mci0", None)
    save_checkpoint(model, loaded.network, loaded.info)
    image = next(tiny_data.rglob("*.jpg"))
    for words in (("predict", image), ("validate", "--data", tiny_data, "--workers", 0)):
        error = run(capsys, *words, "--ckpt", model, "--json").error
        assert error["message"] == "The model is no classifier: its 512 numbers are an embedding of the image."
        assert "fastvit train --ckpt FILE --data FOLDER" in error["hint"]
