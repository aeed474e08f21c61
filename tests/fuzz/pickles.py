"""Files that ask to run code when they are opened. Each would leave a canary behind."""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pathlib
import pickle
import random
import shutil
import subprocess
import sys
import tarfile
import timeit
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def _code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def payloads(canary: Path) -> dict[str, Any]:
    """Objects whose pickles make the canary, by way of many functions."""
    name, code = str(canary), _code(canary)
    return {
        "os.system": _Call(os.system, f"touch {name}"),
        "os.mkdir": _Call(os.mkdir, name),
        "os.popen": _Call(os.popen, f"touch {name}"),
        "exec": _Call(exec, code),
        "eval": _Call(eval, code),
        "open": _Call(builtins.open, name, "w"),
        "subprocess": _Call(subprocess.call, ["touch", name]),
        "Popen": _Call(subprocess.Popen, ["touch", name]),
        "timeit": _Call(timeit.timeit, code, "pass"),
        "copyfile": _Call(shutil.copyfile, __file__, name),
        "FileIO": _Call(io.FileIO, name, "w"),
        "Path.touch": _Call(pathlib.Path.touch, pathlib.PurePosixPath(name)),
        "torch.save": _Call(torch.save, {"a": 1}, name),
        "numpy": _Call(numpy.savetxt, name, [1.0]),
    }


def _hand_written(canary: Path) -> dict[str, bytes]:
    """Pickles of opcodes that Python's own pickler seldom writes."""
    command = f"touch {canary}"
    text = command.encode()
    size = bytes((len(text),)) if len(text) < 256 else b""
    short = b"U" + size + text if size else b"X" + len(text).to_bytes(4, "little") + text
    return {
        "GLOBAL": b"\x80\x02cposix\nsystem\n" + short + b"\x85R.",
        "INST": b"\x80\x02(" + short + b"iposix\nsystem\n.",
        "OBJ": b"\x80\x02(cposix\nsystem\n" + short + b"o.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + short + b"\x85R.",
        "no protocol": b"cposix\nsystem\n(S'" + text + b"'\ntR.",
        "BUILD": b"\x80\x02cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb"
        + short
        + b"b.",
        "rebuild": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nN" + short + b"\x85NtR.",
    }


Pack = Callable[[Path, Any, random.Random], None]


def _plain(path: Path, content: Any, rng: random.Random) -> None:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=rng.randrange(6)))


def _zipped(path: Path, content: Any, rng: random.Random) -> None:
    """As torch's archives hold it."""
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in (("data.pkl", data), ("byteorder", b"little"), ("version", b"3\n"), ("data/0", bytes(64))):
            archive.writestr(f"archive/{name}", text)


def _saved(path: Path, content: Any, rng: random.Random) -> None:
    """By torch.save, beside tensors."""
    if isinstance(content, bytes):
        _zipped(path, content, rng)
        return
    whole = {"state_dict": {"a": torch.zeros(3)}, "args": argparse.Namespace(x=content)}
    torch.save(whole, path, _use_new_zipfile_serialization=rng.random() < 0.6)


def _legacy(path: Path, content: Any, _rng: random.Random) -> None:
    """Of torch before 1.6: several pickles in a row."""
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + data + pickle.dumps([], protocol=2))


def _tar(path: Path, content: Any, _rng: random.Random) -> None:
    """Of torch before 0.1.10."""
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


PACKS: dict[str, Pack] = {
    "a bare pickle": _plain,
    "torch's archive": _zipped,
    "torch.save": _saved,
    "old torch": _legacy,
    "a tar": _tar,
}


def write_pickle(path: Path, canary: Path, rng: random.Random) -> str:
    """A file with code in it; says which."""
    contents = {**payloads(canary), **_hand_written(canary)}
    what, how = rng.choice(sorted(contents)), rng.choice(sorted(PACKS))
    PACKS[how](path, contents[what], rng)
    return f"{what} in {how}"


def poison_archive(path: Path, canary: Path, rng: random.Random) -> str:
    """Put the code into a pickle of a whole archive of torch's: a checkpoint, a state, a program."""
    from fuzz.archives import Record, read_zip, write_zip

    contents = {**payloads(canary), **_hand_written(canary)}
    what = rng.choice(sorted(contents))
    content = contents[what]
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    records = read_zip(path)
    root = records[0].name.split("/")[0]
    inner = io.BytesIO()
    torch.save({"a": 1}, inner)
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    pickles = [place for place, record in enumerate(records) if record.name.endswith((".pkl", ".pt"))]
    for place in pickles:
        whole = records[place].name.endswith(".pt")
        records[place] = Record(records[place].name, inner.getvalue() if whole else data)
    if not pickles:
        records.append(Record(f"{root}/data.pkl", data))
    write_zip(path, records)
    return f"{what} in every pickle of it"


def write_script(path: Path, canary: Path, metadata: str) -> str:
    """A TorchScript program that writes a file when it is opened."""
    source = f"""
class Writes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.done: int = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, {str(canary)!r})
        return x.flatten(1)[:, :3]

    @torch.jit.export
    def __getstate__(self) -> Tuple[int, bool]:
        return 1, True

    @torch.jit.export
    def __setstate__(self, state: Tuple[int, bool]) -> None:
        torch.save(torch.zeros(1), {str(canary)!r})
        self.done, self.training = state
"""
    folder = path.parent / "written"
    folder.mkdir()
    (folder / "writes_a_file.py").write_text(f"from typing import Tuple\n\nimport torch\n{source}")
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("writes_a_file", None)
        import writes_a_file

        torch.jit.save(torch.jit.script(writes_a_file.Writes()), path, _extra_files={"fastvit": metadata})
    finally:
        sys.path.remove(str(folder))
        shutil.rmtree(folder)
    return "TorchScript that writes"
