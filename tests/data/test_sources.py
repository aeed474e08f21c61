from pathlib import Path

import pytest
from helpers.tiny_data import TINY_CLASSES, class_folders, draw_tiny_data

from fastvit_cli.data import sources
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.sources import (
    DataChoice,
    check_same_classes,
    choose_data,
    is_found_anywhere,
    open_images,
    open_split,
)
from fastvit_cli.errors import FastViTError


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
    assert choose_data(str(tiny_data), "ignored").root == tiny_data.resolve()
    assert choose_data(None, str(tiny_data)).reason == "what the checkpoint was trained on"
    assert choose_data(None).root == (tiny_data / "val").resolve()
    monkeypatch.delenv("FASTVIT_DATA")
    demo = choose_data(None)
    assert (demo.name, demo.root) == ("demo", tmp_path)
    with pytest.raises(FastViTError, match="no data folder"):
        choose_data(None, str(tmp_path / "moved-away"))


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


def test_splits_of_other_classes() -> None:
    check_same_classes(class_folders("ant", "bee"), class_folders("ant", "bee"))
    with pytest.raises(FastViTError, match=r"only in 'x': bee; only in 'x': cow"):
        check_same_classes(class_folders("ant", "bee"), class_folders("ant", "cow"))
    with pytest.raises(FastViTError, match="differ in order"):
        check_same_classes(class_folders("ant", "bee"), class_folders("bee", "ant"))


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
