"""Tables of labels: what people have in place of class folders, and what cannot be told apart is refused."""

import shutil
from pathlib import Path

import pytest

from fastvit_cli.data.label_list import open_label_list
from fastvit_cli.data.sources import choose_data, held_out_words, open_images
from fastvit_cli.errors import FastViTError

FILES = [f"images/{number}.jpg" for number in range(10)]


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """Ten images of no class folder."""
    photos = sorted((tiny_data / "train").rglob("*.jpg"))[:10]
    (tmp_path / "images").mkdir()
    for number, photo in enumerate(photos):
        shutil.copy(photo, tmp_path / "images" / f"{number}.jpg")
    return tmp_path


def _table(folder: Path, *lines: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines))
    return path


def _labels(path: Path, split: str = "train", val_split: float | None = None) -> dict[str, str]:
    images = open_label_list(path, split, val_split)
    assert all(images.read(index) for index in range(len(images))), "every file is found"
    return {file: images.class_names[label] for file, label in zip(images.files, images.labels.tolist(), strict=True)}


ANTS_AND_BEES = {file: "ant" if number < 5 else "bee" for number, file in enumerate(FILES)}


@pytest.mark.parametrize(
    "lines",
    [
        ["path,label", *(f"{file},{label}" for file, label in ANTS_AND_BEES.items())],
        [f"{file},{label}" for file, label in ANTS_AND_BEES.items()],
        ["Label;Filename", *(f"{label};{file}" for file, label in ANTS_AND_BEES.items())],
        ["image\tclass", *(f"{Path(file).name}\t{label}" for file, label in ANTS_AND_BEES.items())],
        ["id,breed", *(f"{Path(file).stem},{label}" for file, label in ANTS_AND_BEES.items())],
        ["id,ant,bee", *(f"{Path(f).stem},{int(c == 'ant')},{int(c == 'bee')}" for f, c in ANTS_AND_BEES.items())],
        ["\ufeffpath,label", "", *(f'"{file}"," {label} "' for file, label in ANTS_AND_BEES.items()), ""],
    ],
    ids=["header", "no header", "semicolons", "names alone", "ids", "one-hot", "BOM, quotes and empty lines"],
)
def test_the_tables_that_people_have(folder: Path, lines: list[str]) -> None:
    assert _labels(_table(folder, *lines)) == ANTS_AND_BEES


def test_splits_are_those_of_the_table(folder: Path) -> None:
    lines = [
        f"{file},{label},{'Valid' if file.endswith('9.jpg') else 'train'}" for file, label in ANTS_AND_BEES.items()
    ]
    path = _table(folder, *lines)
    assert list(_labels(path, "val")) == ["images/9.jpg"]
    assert len(_labels(path, "train", val_split=0.5)) == 9
    assert open_label_list(path, "val", None).class_names == ("ant", "bee"), "also those that a split lacks"
    with pytest.raises(FastViTError, match="has no 'test' split") as caught:
        open_label_list(path, "test", None)
    assert caught.value.hint == "Its splits are: train, val."


def test_without_splits_a_share_is_held_out(folder: Path) -> None:
    path = _table(folder, *(f"{file},{label}" for file, label in ANTS_AND_BEES.items()))
    train, val = (_labels(path, split, 0.2) for split in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert not train.keys() & val.keys()
    data = choose_data(str(path))
    assert len(open_images(data, "val")) == 10, "as it is to be scored"
    assert held_out_words(data) == ""


def test_numbers_are_classes_in_their_order(folder: Path) -> None:
    path = _table(folder, *(f"{file},{number % 3 * 9}" for number, file in enumerate(FILES)))
    assert open_label_list(path, "train", None).class_names == ("0", "9", "18")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty"),
        (["path,label"], "names no images"),
        (["one,two,three,four", "a,b,c,d"], "cannot be told apart"),
        (["path,label", f"{FILES[0]},ant", f"{FILES[0]},bee"], "both 'ant' and 'bee' (line 3)"),
        (["path,label,split", f"{FILES[0]},ant,train", f"{FILES[0]},ant,val"], "into two splits (line 3)"),
        (["path,label", FILES[0]], "Line 2 of"),
        (["path,label", f"{FILES[0]},"], "has no label"),
        (["id,ant,bee", "0,1,1"], "names 2 classes"),
        (["path,label", "a.jpg,ant", "b.jpg,bee", f"{FILES[0]},ant"], "2 of the 3 images"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, lines: list[str], words: str) -> None:
    with pytest.raises(FastViTError) as caught:
        open_label_list(_table(folder, *lines), "train", None)
    assert words in caught.value.message


def test_names_that_may_be_several_files_are_refused(folder: Path) -> None:
    (folder / "more").mkdir()
    shutil.copy(folder / FILES[0], folder / "more" / "0.jpg")
    with pytest.raises(FastViTError, match="names '0', which may be"):
        open_label_list(_table(folder, "id,label", "0,ant", "1,bee"), "train", None)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"path,label\n\x00,ant\n" + b'"' * 200_000])
def test_what_is_no_table_is_refused(folder: Path, content: bytes) -> None:
    (folder / "odd.csv").write_bytes(content)
    with pytest.raises(FastViTError):
        open_label_list(folder / "odd.csv", "train", None)


def test_a_table_that_changes_is_read_again(folder: Path) -> None:
    path = _table(folder, *(f"{file},ant" for file in FILES))
    assert open_label_list(path, "train", None).class_names == ("ant",)
    _table(folder, *(f"{file},bee or wasp" for file in FILES))
    assert open_label_list(path, "train", None).class_names == ("bee or wasp",)


def test_a_class_without_training_images_is_named(folder: Path) -> None:
    lines = [
        f"{file},{'wasp' if '9.jpg' in file else 'ant'},{'val' if '9.jpg' in file else 'train'}" for file in FILES
    ]
    with pytest.raises(FastViTError, match="no training images of wasp"):
        open_images(choose_data(str(_table(folder, *lines))), "train")
