from pathlib import Path

import pytest
from helpers.tiny_data import TINY_CLASSES, class_folders, draw_tiny_data

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data import sources
from fastvit_cli.data.class_map import ClassMap, apply
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.model_classes import match_classes
from fastvit_cli.data.sources import (
    DataChoice,
    choose_data,
    is_found_anywhere,
    open_images,
    open_split,
    with_training_classes,
)
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import TrainedData


def test_a_split_is_listed_by_sorted_class(tiny_data: Path) -> None:
    folder = open_split(tiny_data, "train")
    assert folder.class_names == TINY_CLASSES
    assert len(folder) == 24
    assert list(folder.files) == sorted(folder.files)
    for path, label in zip(folder.files, folder.labels, strict=True):
        assert Path(path).parent.name == TINY_CLASSES[label]


def test_validation_is_another_name_of_val(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=2)
    (data / "val").rename(data / "validation")
    assert len(open_split(data, "val")) == 6


def test_a_folder_of_class_folders_is_a_split_itself(tiny_data: Path) -> None:
    assert open_split(tiny_data / "val", "val").class_names == TINY_CLASSES
    with pytest.raises(FastViTError, match="no 'train' folder"):
        open_split(tiny_data / "val", "train")


def test_nested_images_and_hidden_files(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=1, classes=("ring",))
    folder = data / "val" / "ring"
    (folder / "deeper").mkdir()
    (folder / "00.jpg").rename(folder / "deeper" / "00.JPG")
    (folder / "._00.jpg").write_bytes(b"resource fork")
    (folder / "notes.txt").write_text("not an image")
    (data / "val" / ".cache").mkdir()
    assert [Path(path).name for path in open_split(data, "val").files] == ["00.JPG"]


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=1)
    with pytest.raises(FastViTError) as caught:
        open_split(data, "test")
    assert "has no 'test' split" in caught.value.message
    assert "train, val" in caught.value.hint


def test_a_folder_without_class_folders(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "photo.jpg").write_bytes(b"")
    with pytest.raises(FastViTError, match="no class folders"):
        open_split(tmp_path, "val")


def test_which_data_is_meant(tiny_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "ensure_demo_dataset", lambda on_progress: tmp_path)  # noqa: ARG005 - its signature
    monkeypatch.setenv("FASTVIT_DATA", str(tiny_data / "val"))
    assert choose_data(str(tiny_data), TrainedData("ignored")).root == tiny_data.resolve()
    assert choose_data(None, TrainedData(str(tiny_data))).reason == "what the checkpoint was trained on"
    assert choose_data(None).root == (tiny_data / "val").resolve()
    monkeypatch.delenv("FASTVIT_DATA")
    demo = choose_data(None)
    assert (demo.name, demo.root) == ("demo", tmp_path)
    with pytest.raises(FastViTError, match="no data folder"):
        choose_data(None, TrainedData(str(tmp_path / "moved-away")))


@pytest.mark.parametrize(
    ("data", "anywhere"),
    [
        ("demo", True),
        ("hfds/ylecun/mnist", True),
        ("torch/cifar10", True),
        ("torch/cifar10@/home/somebody/data", False),
        ("hfds//home/somebody/mnist", False),
        ("wds/shards", False),
        ("/home/somebody/photos", False),
    ],
)
def test_which_data_is_found_on_every_machine(data: str, anywhere: bool) -> None:
    assert is_found_anywhere(data) == anywhere


def test_a_misspelt_folder_gets_the_closest_name(tiny_data: Path) -> None:
    with pytest.raises(FastViTError) as caught:
        choose_data(str(tiny_data) + "s")
    assert "Did you mean 'data'?" in caught.value.hint


def test_validation_is_labelled_by_the_training_classes() -> None:
    train = class_folders("ant", "bee", "cow")
    same, notes = with_training_classes(class_folders("ant", "bee", "cow"), train)
    assert (same.labels.tolist(), notes) == ([0, 1, 2], ())
    fewer, notes = with_training_classes(class_folders("ant", "cow"), train)
    assert (fewer.class_names, fewer.labels.tolist()) == (train.class_names, [0, 2])
    assert notes == ("Validation has no images of 1 of the 3 classes (bee); the scores are of the others.",)
    other_order, notes = with_training_classes(class_folders("cow", "ant", "bee"), train)
    assert (other_order.labels.tolist(), notes) == ([2, 0, 1], ())
    with pytest.raises(FastViTError, match=r"that training does not have; only in 'x': bee; only in 'x': dog"):
        with_training_classes(class_folders("ant", "dog"), class_folders("ant", "bee"))


def test_a_class_map_may_leave_classes_to_one_split() -> None:
    train, val = (apply(class_folders(name), ClassMap("map", {"ant": 0, "bee": 1})) for name in ("ant", "bee"))
    _, notes = with_training_classes(val, train)
    assert [note.split(" has no images of 1 of the 2 classes ")[0] for note in notes] == ["Validation", "Training"]


def test_only_training_needs_images_of_every_class(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=1)
    for split in ("train", "val"):
        (data / split / "cross" / "00.jpg").rename(data / split / "cross" / "00.txt")
    val = open_split(data, "val")
    assert (val.class_names, val.labels.tolist()) == (TINY_CLASSES, [0, 2])
    with pytest.raises(FastViTError, match=r"The class folder '.*cross' holds no images"):
        open_split(data, "train")
    (data / "train" / "cross" / "00.nef").touch()
    with pytest.raises(FastViTError) as caught:
        open_split(data, "train")
    assert "1 .nef file" in caught.value.hint


@pytest.mark.parametrize(
    ("there", "split", "found"),
    [
        (("train", "valid"), "val", "valid"),
        (("Train", "Val"), "train", "Train"),
        (("Train", "Val"), "val", "Val"),
        (("Training", "VALIDATION"), "train", "Training"),
        (("Training", "VALIDATION"), "val", "VALIDATION"),
        (("train", "Testing"), "test", "Testing"),
        (("val", "validation"), "val", "val"),
        (("train", "validation"), "valid", "validation"),
        (("train", "Holdout"), "holdout", "Holdout"),
    ],
)
def test_other_names_of_the_splits(tmp_path: Path, there: tuple[str, ...], split: str, found: str) -> None:
    _draw_splits(tmp_path, *there)
    assert open_split(tmp_path, split).root == tmp_path / found


def _draw_splits(root: Path, *splits: str) -> None:
    for split in splits:
        (root / split / "ant").mkdir(parents=True)
        (root / split / "ant" / "1.jpg").touch()


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    _draw_splits(tmp_path, "train", "valid", "Validation")
    with pytest.raises(FastViTError, match="2 folders for the split 'val': Validation, valid"):
        open_split(tmp_path, "val")


@pytest.mark.parametrize(
    ("there", "split", "hint"),
    [
        (("trian", "val"), "train", "If 'trian' is meant, name it 'train'. It has: val. "),
        (("train", "Vals"), "val", "If 'Vals' is meant, name it 'val'. It has: train. "),
        (("train2017",), "train", "If 'train2017' is meant, name it 'train'. Pass --data"),
        (("photos",), "train", "Pass --data"),
    ],
)
def test_near_misses_are_named(tmp_path: Path, there: tuple[str, ...], split: str, hint: str) -> None:
    _draw_splits(tmp_path, *there)
    with pytest.raises(FastViTError) as caught:
        open_split(tmp_path, split)
    assert caught.value.hint.startswith(hint)


def test_classes_may_have_the_names_of_splits(tmp_path: Path) -> None:
    for name in ("Train", "Valid", "tram"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    assert open_split(tmp_path, "val").class_names == ("Train", "Valid", "tram")


def test_names_of_classes_in_either_form_of_unicode(tmp_path: Path) -> None:
    """macOS writes an accent behind its letter, other systems in one sign with it."""
    composed, taken_apart = "caf\u00e9", "cafe\u0301"
    for split, name in (("train", composed), ("val", taken_apart)):
        (tmp_path / split / name).mkdir(parents=True)
        (tmp_path / split / name / "1.jpg").write_bytes(b"there")
    train, val = (open_split(tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == (composed,)
    assert val.read(0) == b"there"
    (tmp_path / "map.txt").write_text(taken_apart, encoding="utf-8")
    assert open_images(DataChoice("x", tmp_path, "--data"), "val", str(tmp_path / "map.txt")).class_names == (
        composed,
    )
    model = ModelInfo("t8", "unfused", 1, default_preprocessing(get_variant("t8")), class_names=(taken_apart,))
    assert match_classes(train, 1, model.class_names).class_names == (composed,)


def test_a_split_with_a_class_map(tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=1, val=2)
    (tmp_path / "map.txt").write_text("\n".join(reversed(TINY_CLASSES)))
    folder = open_images(DataChoice("x", data, "--data"), "val", str(tmp_path / "map.txt"))
    assert isinstance(folder, ImageFolder)
    assert folder.class_names == TINY_CLASSES[::-1]
    for path, label in zip(folder.files, folder.labels, strict=True):
        assert Path(path).parent.name == folder.class_names[label]


def test_a_bad_class_map_is_told_before_the_listing(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match=r"class map .* cannot be read"):
        open_images(DataChoice("x", tmp_path / "not-there", "--data"), "val", str(tmp_path / "map.txt"))


def test_specs_mean_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_data("wds/shards").name == f"wds/{tmp_path / 'shards'}"
    assert choose_data("torch/folder@photos").name == f"torch/folder@{tmp_path / 'photos'}"
    assert choose_data("hfds/ylecun/mnist").name == "hfds/ylecun/mnist"
