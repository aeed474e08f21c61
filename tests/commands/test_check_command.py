"""`fastvit check` on data whose faults are known, and that it is what `--check-data` shows."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.photos import photo, save_photos
from helpers.program import Outcome, run
from PIL import Image, ImageOps


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for number, folder in enumerate(("train/ant", "train/bee", "val/ant", "val/bee")):
        save_photos(tmp_path / "data" / folder, range(100 * number, 100 * number + 8))
    return tmp_path / "data"


@pytest.fixture
def faulty(clean: Path) -> Path:
    """Eight photos of train in val, in four ways; two in both classes; one twice in its class."""
    train, val = clean / "train" / "ant", clean / "val" / "ant"
    shutil.copy(train / "000.jpg", val / "copied-0.jpg")
    shutil.copy(train / "001.jpg", val / "copied-1.jpg")
    for number in (2, 3):
        photo(number).save(val / f"recompressed-{number}.jpg", quality=35)
    for number in (4, 5):
        ImageOps.mirror(photo(number)).save(val / f"mirrored-{number}.jpg", quality=80)
    photo(6).resize((80, 60), Image.Resampling.LANCZOS).save(val / "resized-6.jpg", quality=85)
    photo(7).resize((300, 225), Image.Resampling.BICUBIC).save(val / "resized-7.png")
    bees = clean / "train" / "bee"
    shutil.copy(bees / "100.jpg", train / "conflict-100.jpg")
    photo(101).save(train / "conflict-101.jpg", quality=50)
    shutil.copy(bees / "102.jpg", bees / "again-102.jpg")
    return clean


def _check(capsys: pytest.CaptureFixture[str], *words: object) -> Outcome:
    return run(capsys, "check", *words, "--workers", 0)


def test_all_that_was_put_in_is_found_and_nothing_else(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _check(capsys, faulty, "--json").result
    pairs = {
        tuple(Path(image["name"]).stem for image in group["images"]): (
            group["images"][1]["what"],
            group["leak"],
            group["conflict"],
        )
        for group in result["duplicates"]
    }
    assert pairs == {
        ("000", "copied-0"): ("same file", True, False),
        ("001", "copied-1"): ("same file", True, False),
        ("002", "recompressed-2"): ("alike", True, False),
        ("003", "recompressed-3"): ("alike", True, False),
        ("004", "mirrored-4"): ("mirrored", True, False),
        ("005", "mirrored-5"): ("mirrored", True, False),
        ("006", "resized-6"): ("alike", True, False),
        ("007", "resized-7"): ("alike", True, False),
        ("conflict-100", "100"): ("same file", False, True),
        ("conflict-101", "101"): ("alike", False, True),
        ("102", "again-102"): ("same file", False, False),
    }
    assert (result["leaks"], result["conflicts"], result["passed"]) == (8, 2, True)
    assert [split["leaked"] for split in result["splits"]] == [0, 8]
    assert result["class_counts"] == [{"name": "ant", "images": [10, 16]}, {"name": "bee", "images": [9, 8]}]
    for group in result["duplicates"]:
        for image in group["images"]:
            folder = faulty / image["split"] / image["class_name"]
            assert sorted(folder.parent.glob("*/*"))[image["index"]] == Path(image["name"])


def test_clean_data_has_nothing_to_tell(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _check(capsys, clean, "--json", "--strict").result
    assert (result["duplicates"], result["odd"], result["notes"], result["training_error"]) == ([], [], [], None)
    shown = _check(capsys, clean).out
    assert "No image is there twice." in shown
    assert "Every image can be read." in shown


def test_strict(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(capsys, faulty).code == 0
    assert _check(capsys, faulty, "--strict").code == 1
    for path in faulty.glob("val/ant/*-*"):
        path.unlink()
    assert _check(capsys, faulty, "--strict").code == 1, "conflicts are left"
    for path in faulty.glob("train/ant/conflict*"):
        path.unlink()
    alone = _check(capsys, faulty, "--strict", "--json")
    assert len(alone.result["duplicates"]) == 1, "twice in one class and split is no fault to stop for"


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_shown(
    width: int, faulty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = _check(capsys, faulty).out
    text = " ".join(shown.split())
    assert "in train too: 8 of the 24 images of val (33.3 %)" in text
    assert "2 images in more than one class" in text
    assert "1 image more than once in a class" in text
    assert "and 2 more; --json and --report show them" in text, "six leaks of eight"
    assert "label conflict" in text, "leaks do not push conflicts out"
    assert "sizes in val 80 × 60 to 300 × 225 px, median 160 × 120" in text
    assert "█" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_odd_images_orientation_and_other_files(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (50, 50), "white").save(clean / "train" / "ant" / "white.png")
    Image.new("RGB", (60, 60), "white").save(clean / "train" / "ant" / "other.png")
    photo(900).resize((20, 30)).save(clean / "val" / "bee" / "tiny.png")
    photo(901).resize((500, 60)).save(clean / "val" / "bee" / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(902).save(clean / "val" / "ant" / "lying.jpg", exif=exif)
    (clean / "train" / "bee" / "clip.mov").touch()
    outcome = _check(capsys, clean, "--json")
    result = outcome.result
    assert {Path(one["name"]).name: one["what"] for one in result["odd"]} == {
        "white.png": "one colour",
        "other.png": "one colour",
        "tiny.png": "tiny",
        "wide.png": "long",
    }
    assert result["duplicates"] == [], "images of one colour are not alike"
    train, val = result["splits"]
    assert (train["orientations"], val["orientations"]) == ({}, {"6": 1})
    assert val["smallest_size"] == [20, 30]
    assert val["largest_size"] == [500, 60]
    assert val["median_size"] == [160, 120]
    assert any("not upright, by EXIF: 1 (1 of orientation 6)" in note for note in result["notes"])
    assert any(".mov" in note for note in result["notes"])


def test_tiny_is_odd_among_larger_ones_alone(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in clean.glob("train/*/*"):
        Image.open(path).resize((28, 28)).save(path)
    result = _check(capsys, clean, "--json").result
    assert result["odd"] == []
    assert result["splits"][0]["largest_size"] == [28, 28]


def test_unreadable_images_fail_and_take_no_part(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("copied-0.jpg", "copied-1.jpg"):
        (faulty / "val" / "ant" / name).write_bytes(b"nothing")
    outcome = _check(capsys, faulty, "--json")
    assert outcome.code == 1
    result = outcome.document["result"]
    assert len(result["splits"][1]["unreadable"]) == 2
    assert result["splits"][1]["leaked"] == 6
    for path in faulty.glob("*/*/*"):
        path.write_bytes(b"nothing")
    hopeless = _check(capsys, faulty, "--report", "look")
    assert hopeless.code == 1
    assert Path("look/index.html").exists()


def test_other_classes_are_the_error_of_training_after_the_result(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (faulty / "val" / "bee").rename(faulty / "val" / "bees")
    outcome = _check(capsys, faulty, "--json")
    assert outcome.code == 2
    result = outcome.document["result"]
    trained = run(capsys, "train", "--data", faulty, "--output", "run")
    assert trained.code == 2
    assert trained.err.splitlines()[-2:] == outcome.err.splitlines()[-2:]
    assert result["training_error"] in outcome.err
    assert not result["passed"]
    assert result["leaks"] == 8
    assert [row["name"] for row in result["class_counts"]] == ["ant", "bee", "bees"]


def test_check_data_is_the_same_thing(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked = _check(capsys, faulty, "--json").result
    trained = run(capsys, "train", "--data", faulty, "--check-data", "--workers", 0, "--json")
    assert trained.result == checked
    assert "Recipe" not in trained.err
    assert f"Data: {faulty}" in trained.err
    alone = run(capsys, "validate", "--data", faulty, "--check-data", "--workers", 0, "--json").result
    assert [split["split"] for split in alone["splits"]] == ["val"]


def test_which_splits_are_looked_at(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clean / "val").rename(clean / "Validation")
    shutil.copytree(clean / "Validation", clean / "test")
    result = _check(capsys, clean, "--json").result
    assert [split["split"] for split in result["splits"]] == ["train", "val", "test"]
    assert Counter(group["leak"] for group in result["duplicates"]) == {False: 16}, "train has none of them"
    whole = _check(capsys, clean / "train", "--json").result
    assert [(split["split"], split["images"]) for split in whole["splits"]] == [("all", 16)]
    shutil.rmtree(clean / "Validation")
    shutil.rmtree(clean / "test")
    (note,) = _check(capsys, clean, "--json").result["notes"]
    assert "no validation split" in note
    spec = _check(capsys, f"torch/image_folder@{clean}", "--json").result
    assert [split["split"] for split in spec["splits"]] == ["train"]
    assert "val" in spec["notes"][0]


def test_data_by_position_option_and_environment(
    tiny_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_option = _check(capsys, "--data", tiny_data, "--json").result
    monkeypatch.setenv("FASTVIT_DATA", str(tiny_data))
    assert _check(capsys, "--json").result == by_option == _check(capsys, tiny_data, "--json").result


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "There is no data folder 'nowhere'"),
        (["data", "--data", "data"], "named twice"),
        (["data", "other"], "other"),
        (["empty"], "no class folders"),
        ([""], "DATA is empty"),
        (["data", "--report", "file"], "Cannot write a report to 'file'"),
        (["data", "--report", "full"], "other things than a report"),
        (["data", "--workers", "-1"], "--workers is -1"),
        (["data", "--class-map", "file"], "class map"),
    ],
)
def test_wrong_words_are_two_lines(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    outcome = run(capsys, "check", *words)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-2]
    assert outcome.err.splitlines()[-1].startswith("Hint: ")
    assert list(Path("full").iterdir()) == [Path("full/notes.txt")]


def test_many_classes_are_cut_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        save_photos(tmp_path / "many" / f"class-{number:02d}", range(1000 + 100 * number, 1001 + 101 * number))
    shown = _check(capsys, tmp_path / "many").out
    assert "5 classes between" in shown
    assert "class-24" in shown
    assert "class-00" in shown
    assert "class-12" not in shown
