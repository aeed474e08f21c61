"""Exports that were damaged after they were written, that other programs changed, or that carry no checksum."""

from __future__ import annotations

import random
import shutil
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from helpers.exports import CPU, Exports, save_changed
from helpers.loaded import pixels

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.checksum import CHECKSUM_KEY, files_of
from fastvit_cli.runtimes.open import open_runtime

FORMATS = ("onnx", "coreml", "pt2", "torchscript", "openvino")
ARCHIVES = ("pt2", "torchscript")


def _copy(exported: Exports, format_: str, folder: Path) -> Path:
    output = Path(exported(format_).output)
    shutil.copytree(output.parent, folder, dirs_exist_ok=True)
    return folder / output.name


def _open(path: Path) -> Runtime:
    return open_runtime(path, CPU, trust=True)


def _flip(file: Path, place: int, bit: int = 6) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


@pytest.mark.parametrize("format_", FORMATS)
def test_flipped_bits_are_refused_or_change_nothing(exported: Exports, tmp_path: Path, format_: str) -> None:
    """Anywhere in any of the files; what is accepted, such as a flip in a zip's dates, gives the same logits."""
    path = _copy(exported, format_, tmp_path)
    expected = _open(path).logits(pixels(1))
    draw, refused = random.Random(0), list[FastViTError]()
    files = files_of(path)
    for _ in range(40):
        file = draw.choices(files, [file.stat().st_size for file in files])[0]
        place, bit = draw.randrange(file.stat().st_size), draw.randrange(8)
        _flip(file, place, bit)
        try:
            assert torch.equal(_open(path).logits(pixels(1)), expected)
        except FastViTError as error:
            refused.append(error)
        _flip(file, place, bit)
    assert len(refused) >= 30
    assert all(path.name in error.message and error.hint for error in refused)
    assert torch.equal(_open(path).logits(pixels(1)), expected), "it was the flips"


@pytest.mark.parametrize("format_", FORMATS)
def test_other_preprocessing_is_a_change_too(exported: Exports, tmp_path: Path, format_: str) -> None:
    path = _copy(exported, format_, tmp_path)
    file = files_of(path)[0]
    content = file.read_bytes()
    place = content.index(b"crop_pct") + len(b"crop_pct") + content[content.index(b"crop_pct") :].index(b"0.8") - 6
    _flip(file, place, bit=0)  # 0.8 becomes 0.9
    with pytest.raises(FastViTError, match="Bad CRC" if format_ in ARCHIVES else "its checksum differs"):
        _open(path)


@pytest.mark.parametrize("format_", ARCHIVES)
def test_an_archive_whose_weights_were_written_anew(exported: Exports, tmp_path: Path, format_: str) -> None:
    """As another program would, whose zip fits what it holds."""
    path = _copy(exported, format_, tmp_path)
    with zipfile.ZipFile(path) as old:
        records = {record.filename: old.read(record) for record in old.infolist()}
    largest = max((name for name in records if name.rpartition("/")[2].isdigit() or "weight" in name), key=len)
    records[largest] = bytes(len(records[largest]))
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            new.writestr(name, content)
    with pytest.raises(FastViTError, match="is not as `fastvit export` wrote it") as error:
        _open(path)
    assert f"take {CHECKSUM_KEY} out of its metadata" in error.value.hint


def test_a_change_on_purpose_opens_without_the_checksum(exported: Exports, tmp_path: Path) -> None:
    path = _copy(exported, "onnx", tmp_path)
    model = onnx.load(path)
    model.doc_string = "mine"
    onnx.save(model, path)
    with pytest.raises(FastViTError, match="its checksum differs"):
        _open(path)
    save_changed(model, path)
    assert torch.equal(_open(path).logits(pixels(1)), _open(Path(exported("onnx").output)).logits(pixels(1)))


def test_what_a_file_manager_leaves_in_a_package_is_no_damage(exported: Exports, tmp_path: Path) -> None:
    path = _copy(exported, "coreml", tmp_path)
    (path / ".DS_Store").write_bytes(b"where the window was")
    assert _open(path).info.num_classes == 5
