import os
from pathlib import Path

import pytest

from fastvit_cli.data.class_folders import list_class_folders, stamp
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.predict import find_images


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_classes_and_paths_are_sorted(tmp_path: Path) -> None:
    # "b/" sorts behind "b.jpg" and "b-": by the whole path, as the listing did before it was packed
    names = ("bee/b/1.jpg", "bee/b.jpg", "bee/b-/1.png", "ant/10.jpg", "ant/9.jpg")
    folder = list_class_folders(_touch(tmp_path, *names, "loose.jpg", ".hidden/1.jpg")).images
    assert folder.class_names == ("ant", "bee")
    assert list(folder.files) == ["ant/10.jpg", "ant/9.jpg", "bee/b-/1.png", "bee/b.jpg", "bee/b/1.jpg"]
    assert folder.labels.tolist() == [0, 0, 1, 1, 1]
    assert folder.labels.dtype == "int32"
    assert folder.name(0) == str(tmp_path / "ant" / "10.jpg")
    assert folder.read(0) == b""


def test_the_order_does_not_depend_on_that_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{c}/{d}/{n}.jpg" for c in "cab" for d in "zy" for n in range(5)]
    before = list(list_class_folders(_touch(tmp_path, *names)).images.files)
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder: Path) -> None:
            with scandir(folder) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> list:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Reversed)
    assert list(list_class_folders(tmp_path).images.files) == before == sorted(names)


def test_only_images_that_are_not_hidden(tmp_path: Path) -> None:
    _touch(tmp_path, "ant/1.JPEG", "ant/._1.jpg", "ant/.jpg", "ant/jpg", "ant/notes.txt", "ant/folder.jpg/2.gif")
    assert list(list_class_folders(tmp_path).images.files) == ["ant/1.JPEG", "ant/folder.jpg/2.gif"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    """Whoever opens a pipe waits until somebody writes to it."""
    _touch(tmp_path, "ant/1.jpg", "file")
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    for name, target in {"pipe": "pipe.png", "null": os.devnull, "file": "../file", "nowhere": "nowhere"}.items():
        (tmp_path / "ant" / f"to-{name}.jpg").symlink_to(target)
    assert list(list_class_folders(tmp_path).images.files) == ["ant/1.jpg", "ant/to-file.jpg", "ant/to-nowhere.jpg"]
    listed = list_class_folders(tmp_path).images.files
    assert find_images([str(tmp_path)]).paths == tuple(tmp_path / name for name in listed)


def test_odd_bytes_in_names(tmp_path: Path) -> None:
    try:
        _touch(tmp_path, os.fsdecode(b"caf\xe9/\xff\xfe.jpg"))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    folder = list_class_folders(tmp_path).images
    assert os.fsencode(folder.files[0]) == b"caf\xe9/\xff\xfe.jpg"
    assert folder.read(0) == b""


def test_folders_without_classes(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match="holds no class folders"):
        list_class_folders(tmp_path)
    with pytest.raises(FastViTError, match="holds images but no class folders"):
        list_class_folders(_touch(tmp_path, "photo.jpg", ".cache/1.jpg"))


def test_a_class_without_images(tmp_path: Path) -> None:
    folder = list_class_folders(_touch(tmp_path, "ant/deeper/notes.txt", "bee/1.jpg")).images
    assert (folder.class_names, folder.labels.tolist()) == (("ant", "bee"), [1])
    (tmp_path / "bee" / "1.jpg").rename(tmp_path / "bee" / "1.mp4")
    with pytest.raises(FastViTError, match="hold no images") as caught:
        list_class_folders(tmp_path)
    assert "1 .mp4 file" in caught.value.hint


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    names = (
        "ant/1.JPEG",
        "ant/x/2.jfif",
        "ant/3.CR2",
        "bee/4.cr2",
        "bee/5.mov",
        "bee/6.jpg_1",
        "bee/7",
        "bee/1.84",
    )
    litter = ("ant/.DS_Store", "ant/Thumbs.db", "bee/labels.json", "bee/.hidden/8.jpg", "loose.png", "README.md")
    folder = list_class_folders(_touch(tmp_path, *names, *litter)).images
    assert list(folder.files) == ["ant/1.JPEG", "ant/x/2.jfif"]
    assert folder.passed_over == {
        ".cr2": 2,
        ".db": 1,
        ".json": 1,
        ".mov": 1,
        "beside the class folders": 1,
        "hidden": 1,
        "no known suffix": 3,
    }


def test_two_forms_of_one_name_are_one_class(tmp_path: Path) -> None:
    names = ("caf\u00e9/2.jpg", "cafe\u0301/1.jpg", "zoo/3.jpg")
    folder = list_class_folders(_touch(tmp_path, *names)).images
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("this file system has one form only")
    assert folder.class_names == ("caf\u00e9", "zoo")
    assert dict(zip(folder.files, folder.labels.tolist(), strict=True)) == dict(zip(names, (0, 0, 1), strict=True))


def test_links_are_followed_but_not_round(tmp_path: Path) -> None:
    split = _touch(tmp_path, "data/val/ant/1.jpg", "data/train/bee/2.jpg", "elsewhere/3.jpg") / "data" / "val"
    (split / "bee").symlink_to(tmp_path / "data" / "train" / "bee")
    for name, target in {
        "up": split,
        "root": tmp_path,
        "self": split / "ant",
        "other": tmp_path / "elsewhere",
    }.items():
        (split / "ant" / name).symlink_to(target)
    (split / "ant" / "twice").symlink_to(tmp_path / "elsewhere")
    (split / "ant" / "nowhere").symlink_to(tmp_path / "nowhere")
    (split / "ant" / "eternal").symlink_to(split / "ant" / "eternal")
    (split / "ant" / "4.jpg").symlink_to(tmp_path / "elsewhere" / "3.jpg")
    expected = ["ant/1.jpg", "ant/4.jpg", "ant/other/3.jpg", "ant/twice/3.jpg", "bee/2.jpg"]
    assert list(list_class_folders(split).images.files) == expected


def test_two_folders_that_link_to_each_other(tmp_path: Path) -> None:
    _touch(tmp_path, "ant/1.jpg", "bee/2.jpg")
    (tmp_path / "ant" / "b").symlink_to(tmp_path / "bee")
    (tmp_path / "bee" / "a").symlink_to(tmp_path / "ant")
    assert list(list_class_folders(tmp_path).images.files) == ["ant/1.jpg", "ant/b/2.jpg", "bee/2.jpg", "bee/a/1.jpg"]


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    _touch(tmp_path, "ant/1.jpg", "ant/locked/2.jpg")
    (tmp_path / "ant" / "locked").chmod(0)
    try:
        if os.access(tmp_path / "ant" / "locked", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(FastViTError, match="locked' cannot be read"):
            list_class_folders(tmp_path)
    finally:
        (tmp_path / "ant" / "locked").chmod(0o755)


def test_a_folder_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match=r"gone' cannot be read \(No such file"):
        list_class_folders(tmp_path / "gone")


def test_what_an_index_has_to_remember(tmp_path: Path) -> None:
    listing = list_class_folders(_touch(tmp_path, "ant/x/1.jpg", "bee/2.jpg"))
    assert sorted(listing.directories) == [".", "ant", "ant/x", "bee"]
    for directory, then in zip(listing.directories, listing.stamps.tolist(), strict=True):
        assert stamp((tmp_path / directory).stat()) == tuple(then)


def test_progress_counts_classes(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    list_class_folders(_touch(tmp_path, "ant/1.jpg", "bee/2.jpg"), lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
