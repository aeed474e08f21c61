"""Files of torch.save, read without torch.load: the same tensors, and nothing in them is called or unpacked."""

from __future__ import annotations

import argparse
import datetime
import io
import pathlib
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.torch_files import read_torch_file
from fastvit_cli.errors import FastViTError

Tensors = dict[str, Tensor]
KEY = "stages.2.blocks.3.mlp.fc2.weight"


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def error_of(path: Path) -> FastViTError:
    with pytest.raises(FastViTError) as caught:
        load_checkpoint(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


# --- the same tensors as torch.load gives ---------------------------------------------------------

base = torch.arange(24.0)
ODD_TENSORS: Tensors = {
    **{
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16)
    },
    **{str(dtype): torch.arange(6).to(dtype) for dtype in (torch.int64, torch.int8, torch.uint8, torch.bool)},
    **{str(dtype): torch.arange(6).to(dtype) for dtype in (torch.complex64, torch.uint16, torch.float8_e4m3fn)},
    "a view": base[4:16].reshape(3, 4).T,
    "of one storage": base[::2],
    "without elements": torch.zeros(0, 3),
    "a number": torch.tensor(7.5),
    "expanded": torch.ones(1).expand(5),
    "parameter": nn.Parameter(torch.randn(3)),
}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["archive", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Casting complex values")
def test_every_kind_of_tensor_is_the_one_that_was_saved(
    tmp_path: Path, options: dict[str, Any], protocol: int
) -> None:
    path = save(tmp_path / "a.pth", {"x": {"y": OrderedDict(ODD_TENSORS)}}, pickle_protocol=protocol, **options)
    read = {name: stored.read() for name, stored in read_torch_file(path)["x", "y"].items()}
    assert read.keys() == ODD_TENSORS.keys()
    for name, expected in ODD_TENSORS.items():
        assert read[name].dtype == expected.dtype, name
        assert torch.equal(read[name].float(), expected.detach().float()), name
        assert read[name].stride() == expected.stride() or expected.numel() < 2, name


def test_a_file_of_a_big_endian_machine(tensors: Tensors, tmp_path: Path) -> None:
    path = save(tmp_path / "little.pth", {KEY: tensors[KEY]})
    swapped = tensors[KEY].numpy().byteswap().tobytes()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "big.pth", "w") as new:
        for name in old.namelist():
            content = {"byteorder": b"big", "0": swapped}.get(name.rpartition("/")[2], old.read(name))
            new.writestr(name, content)
    assert torch.equal(read_torch_file(tmp_path / "big.pth")[()][KEY].read(), tensors[KEY])
    assert torch.equal(torch.load(tmp_path / "big.pth")[KEY], tensors[KEY])


def test_only_what_is_asked_for_is_read(tensors: Tensors, tmp_path: Path) -> None:
    """Not what an optimizer keeps: damage there does not matter until it is read."""
    momentum = torch.linspace(3, 4, 9)
    path = save(tmp_path / "t.pth", {"state_dict": tensors, "optimizer": {"state": {0: {"exp_avg": momentum}}}})
    content = path.read_bytes()
    assert content.count(momentum.numpy().tobytes()) == 1
    path.write_bytes(content.replace(momentum.numpy().tobytes(), b"\x07" * 36))
    load_checkpoint(path)
    with pytest.raises(FastViTError, match="checksum differs"):
        read_torch_file(path)["optimizer", "state", "0"]["exp_avg"].read()


# --- plain values beside the weights --------------------------------------------------------------

BESIDE = {
    "numpy": {"best": np.float64(91.2), "curve": np.arange(3.0), "names": np.array(["a", None], dtype=object)},
    "path": [Path("runs/x"), pathlib.PureWindowsPath("C:/x"), pathlib.PurePosixPath("/x")],
    "defaultdict": defaultdict(list, a=[1], b=[2]),
    "Namespace": argparse.Namespace(lr=1e-3, nested=argparse.Namespace(x=np.int64(3))),
    "sets": [{1, 2}, frozenset("ab"), bytearray(b"x"), b"bytes", 3 + 4j, 2**70],
    "date": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_harmless_values_beside_the_weights(tensors: Tensors, tmp_path: Path, kind: str, protocol: int) -> None:
    path = save(tmp_path / "b.pth", {"state_dict": tensors, "beside": BESIDE[kind]}, pickle_protocol=protocol)
    assert load_checkpoint(path).layout.variant.name == "t8"


@pytest.mark.parametrize("library", ["numpy", "pathlib"])
def test_values_of_other_versions_of_their_libraries(tensors: Tensors, tmp_path: Path, library: str) -> None:
    here = type(Path()).__module__  # of Python 3.13 another one than of those before and after
    new, old = {
        "numpy": ("numpy._core.multiarray", "numpy.core.multiarray"),
        "pathlib": (here, "pathlib" if here == "pathlib._local" else "pathlib._local"),
    }[library]
    path = save(tmp_path / "new.pth", {"state_dict": tensors, "beside": [np.arange(3), np.float32(1), Path("x")]})
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "old.pth", "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            assert not name.endswith("data.pkl") or f"c{new}\n".encode() in content
            changed.writestr(name, content.replace(f"c{new}\n".encode(), f"c{old}\n".encode()))
    load_checkpoint(tmp_path / "old.pth")


def test_anything_else_is_refused_by_its_name(tensors: Tensors, tmp_path: Path) -> None:
    error = error_of(save(tmp_path / "x.pth", {"state_dict": tensors, "logger": io.StringIO()}))
    assert "it names _io.StringIO; nothing in it was run" in error.message


def test_a_long_or_strange_name_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02c" + b"a" * 5000 + b"\nb\x1b[31m\n.")
    assert len(error_of(path).message) < 250 + len(str(path))
    path.write_bytes(b"\x80\x02ca\nb\x1b[31m\n.")
    assert "it names a.b\\x1b[31m;" in error_of(path).message


# --- small files that would cost much -------------------------------------------------------------


def archive_of(path: Path, pickled: bytes, numbers: bytes = b"", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/version", "3\n")
        archive.writestr("a/data/0", numbers)
    return path


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


LARGE = b"\x8a\x05" + (4 * 2**30).to_bytes(5, "little")
BOMBS = {
    "bytearray of a number": b"\x80\x02c__builtin__\nbytearray\n" + LARGE + b"\x85R.",
    "a tensor's constructor": b"\x80\x02ctorch\nTensor\n" + LARGE + b"\x85R.",
    "hexadecimal, again and again": b"\x80\x02c_codecs\nencode\nq\x00"
    + text("aaaa")
    + text("latin1")
    + b"\x86R"
    + b"".join(b"q\x01h\x00h\x01" + text("hex_codec") + b"\x86R" for _ in range(29))
    + b".",
    "copies of one list": b"\x80\x02]q\x01("
    + b"K\x07" * 100_000
    + b"e"
    + b"cbuiltins\nset\nh\x01\x85R" * 9000
    + b".",
    "memory far out": b"\x80\x02Nr\xf0\xff\xff\x7f.",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "tuples in tuples as a key": b"\x80\x02}" + b"N" + b"\x85" * 1_000_000 + b"Ns.",
    "lists in lists": b"\x80\x02" + b"]" * 900_000 + b"a" * 899_999 + b".",
    "a dictionary in itself": b"\x80\x02}q\x01" + b"".join(text(str(i)) + b"h\x01s" for i in range(999)) + b".",
    "many instructions": b"\x80\x02" + b"N0" * 5_000_000 + b".",
}

READ = """
import pathlib, resource, sys, time, torch
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.errors import FastViTError

for name in sys.argv[1:]:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        load_checkpoint(pathlib.Path(name))
    except FastViTError as error:
        assert name in error.message and error.hint
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(memory, time.perf_counter() - started, name)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_pickles_that_would_cost_much(tmp_path: Path) -> None:
    """Refused in a moment; in a process of their own, for some of these would end it."""
    files = [archive_of(tmp_path / f"{kind}.pth", pickled) for kind, pickled in BOMBS.items()]
    run = subprocess.run([sys.executable, "-c", READ, *map(str, files)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    costs = [line.split(" ", 2) for line in run.stdout.splitlines()]
    assert [name for _, _, name in costs] == list(map(str, files))
    assert [name for memory, seconds, name in costs if int(memory) > 300 or float(seconds) > 20] == []
    assert "more instructions than any checkpoint" in error_of(tmp_path / "many instructions.pth").message


def test_compressed_records_are_not_unpacked(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "z.pth", pickle.dumps({}, 2), bytes(300 * 2**20), zipfile.ZIP_DEFLATED)
    started = time.perf_counter()
    assert "is compressed; it was not read" in error_of(path).message
    assert time.perf_counter() - started < 1
    assert path.stat().st_size < 2**20


def test_a_record_larger_than_the_file(tensors: Tensors, tmp_path: Path) -> None:
    path = save(tmp_path / "r.pth", tensors)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"r/data/300"))
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    assert "its record data/300 is larger than its place in the file" in error_of(path).message


def test_records_that_overlap(tmp_path: Path) -> None:
    """Many names for the bytes of one."""
    path = archive_of(tmp_path / "o.pth", pickle.dumps({}, 2), b"7" * 64)
    content = bytearray(path.read_bytes())
    entries = [i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"]
    content[entries[1] + 42 : entries[1] + 46] = content[entries[3] + 42 : entries[3] + 46]
    path.write_bytes(content)
    assert "is larger than its place in the file" in error_of(path).message


def test_a_pickle_larger_than_any(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "p.pth", b"\x80\x02" + b"N0" * (17 * 2**20) + b"N.")
    assert "data.pkl is larger than in any checkpoint" in error_of(path).message


def test_storages_of_the_old_format_that_say_more_than_the_file_holds(tensors: Tensors, tmp_path: Path) -> None:
    path = save(tmp_path / "l.pth", {KEY: tensors[KEY]}, _use_new_zipfile_serialization=False)
    content = bytearray(path.read_bytes())
    last = tensors[KEY].numel() * 4
    content[-last - 8 : -last] = struct.pack("<q", 2**33)
    path.write_bytes(content)
    assert "a storage is larger than the file" in error_of(path).message


def test_a_tensor_that_is_larger_than_its_numbers(tensors: Tensors, tmp_path: Path) -> None:
    """A stride of 0 makes any shape of one number."""
    huge = torch.zeros(1, 1).expand(10**7, 768)
    assert (
        "head.fc.weight: it is larger than the file"
        in error_of(save(tmp_path / "e.pth", {**tensors, "head.fc.weight": huge})).message
    )
    small = tensors["stages.0.blocks.0.layer_scale.gamma"].mean().expand(48, 1, 1)
    load_checkpoint(save(tmp_path / "s.pth", {**tensors, "stages.0.blocks.0.layer_scale.gamma": small}))


@pytest.mark.parametrize("numbers", ["meta device", "a sparse tensor", "a quantised tensor", "complex64 numbers"])
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_numbers(tensors: Tensors, tmp_path: Path, numbers: str) -> None:
    weight = tensors[KEY]
    other = {
        "meta device": lambda: weight.to("meta"),
        "a sparse tensor": weight.to_sparse,
        "a quantised tensor": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
        "complex64 numbers": lambda: weight.to(torch.complex64),
    }[numbers]()
    error = error_of(save(tmp_path / "m.pth", {**tensors, KEY: other}))
    assert numbers in error.message
    assert KEY in error.message


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_a_torchscript_program_of_any_name(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "m.pt")
    assert "is a TorchScript program, not weights" in error_of(tmp_path / "m.pt").message
