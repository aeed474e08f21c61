import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from fastvit_cli.data import folder_index
from fastvit_cli.data.class_folders import list_class_folders
from fastvit_cli.data.folder_index import load_index, open_indexed, save_index
from fastvit_cli.data.image_formats import image_suffixes
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.errors import FastViTError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder_index, "MIN_IMAGES", 1)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app: tmp_path / "cache" / app)
    return tmp_path / "cache" / "fastvit" / "index"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two classes, one with a nested folder; long untouched."""
    folder = tmp_path / "val"
    for name in ("ant/x/y/1.jpg", "ant/2.jpg", "bee/3.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return _aged(folder)


def _aged(folder: Path, seconds: float = 60) -> Path:
    then = time.time() - seconds
    for parent, _, _ in os.walk(folder):
        os.utime(parent, (then, then))
    return folder


def _is_mapped(folder: ImageFolder) -> bool:
    return all(isinstance(array, np.memmap) for array in (folder.files.text, folder.files.ends, folder.labels))


def _same(a: ImageFolder, b: ImageFolder) -> bool:
    return (a.root, a.class_names, list(a.files), a.labels.tolist()) == (
        b.root,
        b.class_names,
        list(b.files),
        b.labels.tolist(),
    )


def test_what_was_listed_is_mapped_the_next_time(cache: Path, split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_indexed(split)
    assert _is_mapped(first)
    assert _same(first, list_class_folders(split).images)
    monkeypatch.setattr(folder_index, "list_class_folders", None)
    second = open_indexed(split)
    assert _is_mapped(second)
    assert _same(first, second)
    assert not second.labels.flags.writeable
    assert sorted(path.suffix for path in cache.iterdir()) == [".bin", ".json"]


def test_small_splits_are_not_indexed(cache: Path, split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_index, "MIN_IMAGES", 4)
    assert len(open_indexed(split)) == 3
    assert not cache.exists()


@pytest.mark.parametrize("where", [".", "ant", "ant/x", "ant/x/y", "bee"])
def test_a_new_file_in_any_folder_is_seen(cache: Path, split: Path, where: str) -> None:  # noqa: ARG001 - a fixture
    open_indexed(split)
    new = split / where / "new"
    new.mkdir()
    (new / "9.jpg").touch()
    assert f"{where}/new/9.jpg".removeprefix("./") in list(open_indexed(split).files)


def test_a_removed_file_or_folder_is_seen(cache: Path, split: Path) -> None:  # noqa: ARG001 - a fixture
    open_indexed(split)
    (split / "ant" / "x" / "y" / "1.jpg").unlink()
    assert list(open_indexed(_aged(split)).files) == ["ant/2.jpg", "bee/3.jpg"]
    (split / "bee" / "3.jpg").unlink()
    (split / "bee").rmdir()
    assert open_indexed(split).class_names == ("ant",)


def test_a_change_under_an_old_modification_time_is_seen(cache: Path, split: Path) -> None:  # noqa: ARG001 - a fixture
    """As `tar` and `rsync -a` leave it."""
    open_indexed(split)
    before = (split / "bee").stat()
    (split / "bee" / "4.jpg").touch()
    os.utime(split / "bee", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "bee/4.jpg" in list(open_indexed(split).files)


def test_the_target_of_a_link_is_watched(cache: Path, split: Path, tmp_path: Path) -> None:  # noqa: ARG001 - a fixture
    (tmp_path / "elsewhere").mkdir()
    (split / "ant" / "link").symlink_to(tmp_path / "elsewhere")
    _aged(tmp_path / "elsewhere")
    assert len(open_indexed(_aged(split))) == 3
    (tmp_path / "elsewhere" / "1.jpg").touch()
    assert "ant/link/1.jpg" in list(open_indexed(split).files)


@pytest.mark.parametrize("age", [0.0, 1.5, -3600.0])
def test_folders_as_young_as_the_listing_are_not_indexed(cache: Path, split: Path, age: float) -> None:
    then = time.time() - age
    os.utime(split / "ant" / "x", (then, then))
    assert not _is_mapped(open_indexed(split))
    assert not cache.exists()
    _aged(split, 5)
    assert _is_mapped(open_indexed(split))


def test_another_version_place_or_set_of_suffixes(
    cache: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_indexed(split)
    assert load_index(split) is not None
    with monkeypatch.context() as patch:
        patch.setattr(folder_index, "VERSION", folder_index.VERSION + 1)
        assert load_index(split) is None
    with monkeypatch.context() as patch:
        patch.setattr(folder_index, "image_suffixes", lambda: image_suffixes() | {".xyz"})
        assert load_index(split) is None
    [pointer] = cache.glob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(folder_index, "_pointer", lambda folder: pointer)  # noqa: ARG005 - its signature
        assert load_index(split) is not None
        split.rename(tmp_path / "moved")
        assert load_index(tmp_path / "moved") is None


def test_damage_anywhere_means_listing_again(cache: Path, split: Path) -> None:
    open_indexed(split)
    listed = list_class_folders(split).images
    for path in sorted(cache.iterdir()):
        content = path.read_bytes()
        for position in range(0, len(content), 5):
            damaged = bytearray(content)
            damaged[position] ^= 0x41
            _replace(path, bytes(damaged))
            assert load_index(split) is None, (path.suffix, position)
        for wrong in (b"", content[:-1], content[: len(content) // 2], b"[]", b"null", b'{"digest": 3}', b"\xff"):
            _replace(path, wrong)
            assert load_index(split) is None, (path.suffix, wrong)
        _replace(path, content)
        assert load_index(split) is not None
        path.unlink()
        assert load_index(split) is None
        assert _same(open_indexed(split), listed)
        assert load_index(split) is not None


def _replace(path: Path, content: bytes) -> None:
    path.unlink()  # never in place: reading the map of a file that became shorter kills the process
    path.write_bytes(content)


def test_shapes_of_nonsense_are_refused_before_they_are_mapped(cache: Path, split: Path) -> None:
    open_indexed(split)
    [pointer] = cache.glob("*.json")
    said = json.loads(pointer.read_text())
    said["shapes"]["labels"] = [2**60]
    pointer.write_text(json.dumps(said))
    assert load_index(split) is None


def test_a_cache_that_cannot_be_written(cache: Path, split: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    folder = open_indexed(split)
    assert len(folder) == 3
    assert not _is_mapped(folder)


def test_errors_are_those_of_the_listing(cache: Path, split: Path) -> None:  # noqa: ARG001 - a fixture
    open_indexed(split)
    (split / "cow").mkdir()
    for name in ("ant/x/y/1.jpg", "ant/2.jpg", "bee/3.jpg"):
        (split / name).unlink()
    with pytest.raises(FastViTError, match="hold no images"):
        open_indexed(split)


def test_what_is_passed_over_is_remembered(cache: Path, split: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - a fixture
    for name in ("ant/4.heix", "bee/5.heix", "bee/notes.txt"):
        (split / name).touch()
    first = open_indexed(_aged(split))
    assert first.passed_over == {".heix": 2, ".txt": 1}
    monkeypatch.setattr(folder_index, "list_class_folders", None)
    second = open_indexed(split)
    assert second.passed_over == first.passed_over
    assert pickle.loads(pickle.dumps(second)).passed_over == first.passed_over


def test_a_new_listing_does_not_change_what_is_open(cache: Path, split: Path) -> None:
    opened = [open_indexed(split)]
    for number in range(4):
        (split / "bee" / f"new{number}.jpg").touch()
        opened.append(open_indexed(_aged(split)))
    assert [len(folder) for folder in opened] == [3, 4, 5, 6, 7]
    for number, folder in enumerate(opened):
        expected = ["ant/2.jpg", "ant/x/y/1.jpg", "bee/3.jpg", *(f"bee/new{i}.jpg" for i in range(number))]
        assert list(folder.files) == expected
        assert _same(pickle.loads(pickle.dumps(folder)), folder)  # the oldest files are removed by now
    assert len(list(cache.glob("*.bin"))) == 2


def test_a_mapped_split_is_small_in_a_pickle(cache: Path, tmp_path: Path) -> None:  # noqa: ARG001 - a fixture
    split = tmp_path / "train"
    for name in ("ant", "bee"):
        (split / name).mkdir(parents=True)
        for number in range(500):
            (split / name / f"{number}.jpg").touch()
    folder = open_indexed(_aged(split))
    pickled = pickle.dumps(folder)
    assert len(pickled) < 5_000
    assert len(pickle.dumps(list_class_folders(split).images)) > 10_000
    copied = pickle.loads(pickled)
    assert _is_mapped(copied)
    assert _same(copied, folder)
    relabelled = pickle.loads(pickle.dumps(folder.relabelled(("b", "a"), 1 - folder.labels)))
    assert relabelled.labels.tolist() == [1] * 500 + [0] * 500


def test_odd_bytes_in_names(cache: Path, split: Path) -> None:  # noqa: ARG001 - a fixture
    name = os.fsdecode(b"\xff\xfe")
    try:
        (split / name).mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 only")
    (split / name / f"{name}.jpg").touch()
    odd = _aged(split).rename(split.with_name(name))
    folder = open_indexed(odd)
    assert _is_mapped(folder)
    assert folder.class_names[-1] == name
    assert folder.read(len(folder) - 1) == b""


def test_an_index_can_be_saved_by_hand(cache: Path, split: Path) -> None:  # noqa: ARG001 - a fixture
    assert load_index(split) is None
    assert save_index(list_class_folders(split), time.time_ns())
    assert _same(load_index(split), list_class_folders(split).images)
