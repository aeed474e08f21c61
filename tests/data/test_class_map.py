import json
from pathlib import Path

import numpy as np
import pytest

from fastvit_cli.data.class_map import ClassMap, apply, read_class_map
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.errors import FastViTError


def _folder(*names: str) -> ImageFolder:
    files = PackedNames.of(f"{name}/{i}.jpg" for name in names for i in range(2))
    return ImageFolder(Path("x"), names, files, np.repeat(np.arange(len(names), dtype=np.int32), 2))


def _written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("text", ["dog\nant\nbee\n", "dog\r\nant\r\nbee", "\ufeffdog\n ant\nbee\n\n\n"])
def test_one_name_a_line(tmp_path: Path, text: str) -> None:
    class_map = read_class_map(_written(tmp_path / "classes.txt", text))
    assert class_map.indices == {"dog": 0, "ant": 1, "bee": 2}
    assert class_map.class_names == ("dog", "ant", "bee")


def test_a_separator_of_unicode_does_not_end_a_line(tmp_path: Path) -> None:
    assert read_class_map(_written(tmp_path / "classes.txt", "a\u2028b\nc")).class_names == ("a\u2028b", "c")


@pytest.mark.parametrize("name", ["class_to_idx.json", "classes.txt"])
def test_a_json_object(tmp_path: Path, name: str) -> None:
    class_map = read_class_map(_written(tmp_path / name, ' {"ant": 3, "bee": 1}'))
    assert class_map.indices == {"ant": 3, "bee": 1}
    assert class_map.class_names == ("class 0", "bee", "class 2", "ant")


def test_labels_become_the_indices_of_the_map() -> None:
    images = apply(_folder("ant", "bee"), ClassMap("map", {"bee": 1, "ant": 3, "cow": 0}))
    assert images.labels.tolist() == [3, 3, 1, 1]
    assert images.labels.dtype == np.int32
    assert images.class_names == ("cow", "bee", "class 2", "ant")
    assert list(images.files) == list(_folder("ant", "bee").files)


def test_labels_that_stay_are_not_copied() -> None:
    folder = _folder("ant", "bee")
    assert apply(folder, ClassMap("map", {"ant": 0, "bee": 1, "cow": 2})).labels is folder.labels


def test_class_folders_that_the_map_does_not_name() -> None:
    with pytest.raises(FastViTError, match="'x' holds 4 class folders that 'map' does not name: b, c, d and 1 more"):
        apply(_folder("a", "b", "c", "d", "e"), ClassMap("map", {"a": 0}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.txt", "", "is empty"),
        ("map.txt", " \n\n", "is empty"),
        ("map.json", "{}", "is empty"),
        ("map.json", "", "not valid JSON"),
        ("map.txt", b"\xff\xd8\xff\xe0", "not a text file"),
        ("map.json", b'{"\xff": 0}', "not a text file"),
        ("map.txt", "ant\n\nbee\n", "Line 2 .* is empty"),
        ("map.txt", "ant\nbee\nant\n", "names 'ant' twice"),
        ("map.json", '{"ant": 0, "ant": 1}', "names 'ant' twice"),
        ("map.json", '{"ant": 0', "not valid JSON"),
        ("map.json", "[" * 100_000, "not valid JSON"),
        ("map.json", '{"ant": ' + "1" * 5000 + "}", "not valid JSON"),
        ("map.json", '["ant", "bee"]', "not a JSON object"),
        ("map.json", "3", "not a JSON object"),
        ("map.json", '{"ant": 1, "bee": 1}', "gives 'ant' and 'bee' the same index 1"),
    ],
)
def test_what_is_no_class_map(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(FastViTError, match=message):
        read_class_map(_written(tmp_path / name, content))


@pytest.mark.parametrize("index", [-1, 1.0, "1", True, None, [1], {"a": 1}, 1_000_001, 10**30])
def test_what_is_no_index(tmp_path: Path, index: object) -> None:
    with pytest.raises(FastViTError, match="gives 'ant' the index") as caught:
        read_class_map(_written(tmp_path / "map.json", json.dumps({"ant": index})))
    assert "whole numbers from 0 to 1000000" in caught.value.hint


def test_a_class_map_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match=r"cannot be read \(No such file"):
        read_class_map(tmp_path / "missing.txt")
    with pytest.raises(FastViTError, match="cannot be read"):
        read_class_map(tmp_path)


def test_a_folder_named_like_a_class_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"class 1": 0, "class 2": 1, "class 5": 3}')
    with pytest.raises(FastViTError, match="names a folder 'class 2'"):
        read_class_map(path)
