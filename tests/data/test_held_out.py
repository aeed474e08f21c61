"""Class folders without splits: a share of each class is held out, by content, and the same whoever asks."""

import shutil
from pathlib import Path

import pytest

from fastvit_cli.data.class_folders import list_class_folders
from fastvit_cli.data.held_out import held_out_part
from fastvit_cli.data.sources import DataChoice, choose_data, held_out_words, open_images, open_split
from fastvit_cli.errors import FastViTError
from fastvit_cli.options import TrainedData


def _photos(root: Path, **counts: int) -> Path:
    """Files of different content; they are listed and hashed, not decoded."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(f"{name} {number}".encode() * 50)
    return root


def _contents(root: Path, split: str, share: float = 0.2) -> set[bytes]:
    images = open_split(root, split, val_split=share)
    return {images.read(index) for index in range(len(images))}


def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    root = _photos(tmp_path / "photos", ant=50, bee=10, cat=2, dog=1)
    train, val = (open_split(root, split, val_split=0.2) for split in ("train", "val"))
    count = [[int((part.labels == label).sum()) for label in range(4)] for part in (train, val)]
    assert count == [[40, 8, 1, 1], [10, 2, 1, 0]]
    assert train.class_names == val.class_names == ("ant", "bee", "cat", "dog")
    files = [*train.files, *val.files]
    assert sorted(files) == sorted(list_class_folders(root).images.files), "every image is in one of them"


def test_it_follows_the_content_and_not_names_or_order(tmp_path: Path) -> None:
    root = _photos(tmp_path / "photos", ant=30, bee=30)
    held = _contents(root, "val")
    moved = tmp_path / "elsewhere"
    for name in ("ant", "bee"):
        (moved / name).mkdir(parents=True)
        for path in (root / name).iterdir():
            shutil.copy(path, moved / name / f"renamed-{99 - int(path.stem)}.jpg")
    assert _contents(moved, "val") == held
    (root / "ant" / "new.jpg").write_bytes(b"one more")
    assert len(_contents(root, "val") ^ held) <= 2, "an image more moves few others"


def test_copies_stay_together(tmp_path: Path) -> None:
    root = _photos(tmp_path / "photos", ant=20, bee=20)
    for number in range(20):
        shutil.copy(root / "ant" / f"{number}.jpg", root / "ant" / f"copy-{number}.jpg")
    assert not _contents(root, "train") & _contents(root, "val")
    same = _photos(tmp_path / "same", ant=3, bee=1)
    for path in (same / "ant").iterdir():
        path.write_bytes(b"the same")
    images = list_class_folders(same).images
    assert len(held_out_part(images, 0.5, "val")) == 0, "a class is never held out whole"
    assert len(held_out_part(images, 0.5, "train")) == 4


def test_folders_with_splits_are_left_alone(tiny_data: Path, tmp_path: Path) -> None:
    assert len(open_split(tiny_data, "val", val_split=0.5)) == 12
    shutil.copytree(tiny_data / "val", tmp_path / "only" / "valid")
    with pytest.raises(FastViTError, match="has no 'train' split"):
        open_split(tmp_path / "only", "train", val_split=0.2)


def test_a_folder_of_data_sets_is_no_folder_of_classes(tiny_data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(tiny_data, tmp_path / name)
    with pytest.raises(FastViTError, match="'one' has splits of its own") as caught:
        open_split(tmp_path, "train", val_split=0.2)
    assert str(tmp_path / "one") in caught.value.hint


def test_a_model_is_scored_on_what_it_did_not_see(tmp_path: Path) -> None:
    root = _photos(tmp_path / "photos", ant=10, bee=10)
    trained = TrainedData(str(root), 0.3)
    for data in (None, str(root)):
        choice = choose_data(data, trained)
        assert len(open_images(choice, "val")) == 6
        assert "30 % of each class" in held_out_words(choice)
    other = choose_data(str(_photos(tmp_path / "other", ant=5, bee=5)), trained)
    assert len(open_images(other, "val")) == 10, "all of a folder that it was not trained on"
    assert held_out_words(other) == held_out_words(DataChoice("demo", None, "")) == ""
