"""What `train` and `validate` do with images, by their options, on damaged and on odd data."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from helpers.loaded import saved_model
from helpers.program import run
from helpers.tiny_data import TINY_CLASSES
from PIL import Image


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)


@pytest.fixture
def damaged(tiny_data: Path, tmp_path: Path) -> Path:
    """The tiny data with a truncated image in each split."""
    data = Path(shutil.copytree(tiny_data, tmp_path / "damaged"))
    for split in ("train", "val"):
        path = data / split / "cross" / "01.jpg"
        path.write_bytes(path.read_bytes()[:300])
    return data


@pytest.fixture
def validating(tmp_path: Path) -> list[str]:
    """`validate` with a model of five other classes, and a map from the tiny data's classes to them."""
    saved_model(tmp_path / "model.safetensors")
    (tmp_path / "map.json").write_text(json.dumps({name: 4 - index for index, name in enumerate(TINY_CLASSES)}))
    return ["validate", "--ckpt", "model.safetensors", "--class-map", "map.json", "--workers", "0", "--json"]


def test_a_class_map_gives_the_labels(
    validating: list[str], tiny_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = run(capsys, *validating, "--data", tiny_data).result
    assert first["num_images"] == 12
    (tmp_path / "map.json").write_text(json.dumps({name: index for index, name in enumerate(TINY_CLASSES)}))
    assert run(capsys, *validating, "--data", tiny_data).result["loss"] != first["loss"]
    (tmp_path / "map.json").write_text(json.dumps({name: index + 9 for index, name in enumerate(TINY_CLASSES)}))
    outcome = run(capsys, *validating, "--data", tiny_data)
    assert outcome.code == 2
    assert "the model has 5 classes" in outcome.error["message"]


def test_both_ways_of_transforming_nearly_agree(
    validating: list[str], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, exact = (
        run(capsys, *validating, "--data", tiny_data, "--transforms", kind).result["loss"] for kind in ("fast", "pil")
    )
    assert fast != exact
    assert fast == pytest.approx(exact, rel=1e-2)


def test_exif_turns_images(
    validating: list[str], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turned = Path(shutil.copytree(tiny_data, tmp_path / "turned"))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    segment = upside_down.tobytes()
    for path in turned.glob("val/*/*.jpg"):
        encoded = path.read_bytes()
        path.write_bytes(encoded[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + encoded[2:])
    plain, ignored = (run(capsys, *validating, "--data", data).result["loss"] for data in (tiny_data, turned))
    assert ignored == plain
    assert run(capsys, *validating, "--data", turned, "--exif").result["loss"] != plain


def test_validation_names_and_leaves_out_unreadable_images(
    validating: list[str], damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(capsys, *validating, "--data", damaged, "--max-bad-images", 10)
    assert outcome.result["num_images"] == 11
    (bad,) = outcome.result["unreadable"]
    assert bad["name"].endswith("01.jpg")
    assert "01.jpg" in outcome.err
    strict = run(capsys, *validating, "--data", damaged)
    assert strict.code == 2
    assert "1 of 12 images cannot be read, more than 1 %" in strict.error["message"]
    assert "--max-bad-images" in strict.error["hint"]


def test_not_one_readable_image(validating: list[str], damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in damaged.glob("val/*/*.jpg"):
        path.write_bytes(b"nothing")
    outcome = run(capsys, *validating, "--data", damaged, "--max-bad-images", 100)
    assert outcome.code == 2
    assert "Not one image" in outcome.error["message"]


def test_training_survives_an_unreadable_image(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data", damaged, "--img-size", 32, "--epochs", 2, "--batch-size", 8, "--workers", 1]
    outcome = run(capsys, *words, "--output", "run", "--max-bad-images", 10, "--json")
    assert outcome.result["epochs"] == 2
    assert outcome.err.count("Cannot read") == 2, "each image is named once"
    assert "2 unreadable images so far" in outcome.err
    with Path("run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["unreadable"] for row in rows] == ["2", "2"]
    assert all(0 <= float(row["data_wait"]) <= 1 for row in rows)
    strict = run(capsys, *words, "--output", "strict")
    assert strict.code == 2
    assert "--check-data" in strict.err


@pytest.mark.parametrize("command", ["train", "validate"])
def test_check_data_lists_what_cannot_be_read(
    command: str, damaged: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    splits = 2 if command == "train" else 1
    before = sorted(tmp_path.iterdir())
    outcome = run(capsys, command, "--check-data", "--data", damaged, "--json")
    assert outcome.code == 1
    result = outcome.document["result"]
    assert not result["passed"]
    assert [split["images"] for split in result["splits"]] == [24, 12][-splits:]
    assert [len(split["unreadable"]) for split in result["splits"]] == [1] * splits
    readable = run(capsys, command, "--check-data", "--data", tiny_data)
    assert readable.code == 0
    assert "Every image can be read" in readable.out
    shown = run(capsys, command, "--check-data", "--data", damaged)
    assert "01.jpg" in shown.out
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


def test_check_data_reads_what_the_command_would_read(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "options.yaml").write_text(f"data: {damaged}\n")
    by_file = run(capsys, "train", "--config", "options.yaml", "--check-data", "--json")
    assert by_file.document["result"]["data"] == str(damaged)
    words = ["--img-size", 32, "--epochs", 1, "--batch-size", 8, "--max-bad-images", 10, "--workers", 0]
    assert run(capsys, "train", "--data", damaged, *words, "--output", "run").code == 0
    for model in (["train", "--resume", "run"], ["train", "--ckpt", "run"], ["validate", "--ckpt", "run"]):
        outcome = run(capsys, *model, "--check-data", "--json")
        assert outcome.code == 1
        assert outcome.document["result"]["data"] == str(damaged)


def test_what_may_be_unreadable_can_change_on_resume(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", damaged, "--img-size", 32, "--epochs", 1, "--batch-size", 8, "--workers", 0]
    assert run(capsys, "train", *words, "--output", "run", "--max-bad-images", 10).code == 0
    assert run(capsys, "train", "--resume", "run", "--epochs", 2).code == 0
    resumed = run(capsys, "train", "--resume", "run", "--epochs", 3, "--max-bad-images", 0)
    assert resumed.code == 2
    assert "cannot be read" in resumed.err


def test_data_sets_of_timm(
    validating: list[str], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run(capsys, *validating, "--data", tiny_data).result["loss"]
    assert run(capsys, *validating, "--data", f"torch/image_folder@{tiny_data}").result["loss"] == expected
    with tarfile.open(tmp_path / "val-0.tar", "w") as shard:
        for label, name in enumerate(TINY_CLASSES):
            for path in sorted((tiny_data / "val" / name).iterdir()):
                shard.add(path, f"{name}-{path.stem}.jpg")
                (tmp_path / "label").write_text(str(label))
                shard.add(tmp_path / "label", f"{name}-{path.stem}.cls")
    (tmp_path / "shards").mkdir()
    (tmp_path / "val-0.tar").rename(tmp_path / "shards" / "val-0.tar")
    (tmp_path / "map.json").write_text(json.dumps({str(index): 4 - index for index in range(3)}))
    assert run(capsys, *validating, "--data", f"wds/{tmp_path / 'shards'}").result["loss"] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--transforms", "slow"], "--transforms does not take 'slow'"),
        (["--max-bad-images", "101"], "--max-bad-images is 101"),
        (["--class-map", "none.txt"], "none.txt' cannot be read"),
        (["--data", "hfds/not/there@nowhere"], "not/there"),
        (["--data", "torch/nonsense"], "nonsense"),
        (["--data", "wds/nowhere"], "nowhere"),
    ],
)
@pytest.mark.parametrize("command", ["train", "validate"])
def test_wrong_data_options_are_two_lines(
    command: str,
    words: list[str],
    message: str,
    tiny_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Too late for a library that another test has imported: it tries again and again, with pauses.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    model = ["--ckpt", "model.safetensors"] if command == "validate" else []
    if model:
        saved_model(Path("model.safetensors"))
    data = [] if "--data" in words else ["--data", str(tiny_data)]
    outcome = run(capsys, command, *model, *data, *words)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-2]
    assert outcome.err.splitlines()[-1].startswith("Hint: ")
    assert not Path("runs").exists()
