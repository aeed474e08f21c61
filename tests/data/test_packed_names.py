import pickle
from pathlib import Path

import numpy as np
import pytest

from fastvit_cli.data.packed_names import ByReference, PackedNames, open_map


def _copied(array: np.ndarray) -> np.ndarray:
    return pickle.loads(pickle.dumps(ByReference(array)))


def test_names_come_back_as_they_were() -> None:
    names = ["ant/0.jpg", "", "bee/ü\n.jpg", "odd\udcff.jpg", "ant/0.jpg"]
    packed = PackedNames.of(names)
    assert list(packed) == names
    assert list(pickle.loads(pickle.dumps(packed))) == names
    assert (len(packed), packed[np.int64(2)]) == (5, "bee/ü\n.jpg")
    assert list(PackedNames.of([])) == []


@pytest.mark.parametrize("index", [-1, 1])
def test_there_is_nothing_beyond_the_ends(index: int) -> None:
    with pytest.raises(IndexError):
        PackedNames.of(["ant"])[index]


def test_a_mapped_array_travels_as_its_place_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    np.arange(10_000, dtype="<i8").tofile(file)
    array = open_map(str(file), "<i8", (9_000,), 8_000)
    assert len(pickle.dumps(ByReference(array))) < 500
    copied = _copied(array)
    assert isinstance(copied, np.memmap)
    assert not copied.flags.writeable
    np.testing.assert_array_equal(copied, np.arange(1_000, 10_000))


def test_parts_of_a_map_travel_as_their_content(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    np.arange(100, dtype="<i4").tofile(file)
    array = open_map(str(file), "<i4", (100,), 0)
    for part in (array[3:], array[::2], array[array > 7], array.astype(np.int64), array.view("<i2"), array + 1):
        np.testing.assert_array_equal(_copied(part), part)


def test_a_map_of_a_removed_file_travels_as_its_content(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    np.arange(100, dtype="<i4").tofile(file)
    array = open_map(str(file), "<i4", (100,), 0)
    file.unlink()
    np.testing.assert_array_equal(_copied(array), np.arange(100))
