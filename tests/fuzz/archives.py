"""Changes to zip archives, which PyTorch's checkpoints, states and exported programs are."""

from __future__ import annotations

import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fuzz.mutations import CRC, EDITS, Mutation
from fuzz.tensors import TENSOR_EDITS, TensorEdit, Tensors


@dataclass(frozen=True)
class Record:
    """One file of an archive.

    Attributes:
        folder: whether it is marked as a folder.
    """

    name: str
    data: bytes
    deflated: bool = False
    folder: bool = False


Records = list[Record]


def read_zip(path: Path) -> Records:
    """All records of an archive; the checksums of those that are not compressed may say what they want."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return [
            Record(entry.filename, archive.read(entry) if entry.compress_type else _stored(content, entry))
            for entry in archive.infolist()
        ]


def _stored(content: bytes, entry: zipfile.ZipInfo) -> bytes:
    local = entry.header_offset
    start = local + 30 + sum(struct.unpack("<HH", content[local + 26 : local + 30]))
    return content[start : start + entry.file_size]


def write_zip(path: Path, records: Records) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for record in records:
            entry = zipfile.ZipInfo(record.name)
            entry.compress_type = zipfile.ZIP_DEFLATED if record.deflated else zipfile.ZIP_STORED
            if record.folder:
                entry.external_attr = 0x10
            with archive.open(entry, "w", force_zip64=True) as file:
                file.write(record.data)


def pick_record(records: Records, rng: random.Random, wanted: str = "") -> int:
    """The place of a record; of one whose name holds `wanted` where there is one."""
    places = [place for place, record in enumerate(records) if wanted in record.name] or range(len(records))
    return rng.choice(list(places))


def _changed(records: Records, rng: random.Random, wanted: str) -> None:
    place = pick_record(records, rng, wanted)
    content = bytearray(records[place].data or b"\0")
    rng.choice([EDITS[name] for name in EDITS if name != "cut off"])(content, rng, 0, len(content))
    records[place] = replace(records[place], data=bytes(content))


def _cut(records: Records, rng: random.Random) -> None:
    place = pick_record(records, rng)
    data = records[place].data
    records[place] = replace(records[place], data=data[: rng.randrange(len(data) + 1)])


def _renamed(records: Records, rng: random.Random) -> None:
    place = pick_record(records, rng)
    name = records[place].name
    odd = (
        name + "x",
        "/etc/" + name,
        "../" + name,
        name.upper(),
        "",
        "x" * 60_000,
        name.replace("/", "\\"),
        "\u202e",
    )
    records[place] = replace(records[place], name=rng.choice(odd))


def _swapped(records: Records, rng: random.Random) -> None:
    """Two records of one size change their names."""
    by_size: dict[int, list[int]] = {}
    for place, record in enumerate(records):
        by_size.setdefault(len(record.data), []).append(place)
    some = [places for places in by_size.values() if len(places) > 1]
    one, other = rng.sample(rng.choice(some), 2)
    first, second = records[one], records[other]
    records[one], records[other] = replace(first, data=second.data), replace(second, data=first.data)


def _left_out(records: Records, rng: random.Random) -> None:
    del records[pick_record(records, rng)]


def _twice(records: Records, rng: random.Random) -> None:
    record = records[pick_record(records, rng)]
    data = bytearray(record.data or b"\0")
    data[rng.randrange(len(data))] ^= 1
    records.insert(rng.randrange(len(records)), replace(record, data=bytes(data)))


def _compressed(records: Records, rng: random.Random) -> None:
    only = None if rng.random() < 0.5 else pick_record(records, rng)
    for place, record in enumerate(records):
        if only in (None, place):
            records[place] = replace(record, deflated=True)


def _folder(records: Records, rng: random.Random) -> None:
    place = pick_record(records, rng)
    records[place] = replace(records[place], folder=True)


def _foreign_order(records: Records, rng: random.Random) -> None:
    place = pick_record(records, rng, "byteorder")
    records[place] = replace(records[place], data=rng.choice((b"big", b"", b"middle", b"\xff" * 9)))


def _other_order(records: Records, rng: random.Random) -> None:
    rng.shuffle(records)


_RECORD_EDITS: dict[str, Callable[[Records, random.Random], None]] = {
    "a record changed": lambda records, rng: _changed(records, rng, "data/"),
    "any record changed": lambda records, rng: _changed(records, rng, ""),
    "the pickle changed": lambda records, rng: _changed(records, rng, ".pkl"),
    "a record cut": _cut,
    "a record renamed": _renamed,
    "two records swapped": _swapped,
    "a record left out": _left_out,
    "a record twice": _twice,
    "compressed records": _compressed,
    "a record marked as a folder": _folder,
    "another byte order": _foreign_order,
    "another order of records": _other_order,
}


def _resealed(edit: Callable[[Records, random.Random], None]) -> Callable[[Path, random.Random], None]:
    def apply(path: Path, rng: random.Random) -> None:
        records = read_zip(path)
        edit(records, rng)
        write_zip(path, records)

    return apply


# --- the tables of the archive --------------------------------------------------------------------


def table_entries(content: bytes) -> list[int]:
    """Where the entries of the table of contents begin."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place, found = archive.start_dir, []
    while content[place : place + 4] == b"PK\x01\x02":
        found.append(place)
        place += 46 + sum(struct.unpack("<HHH", content[place + 28 : place + 34]))
    return found


_FIELDS = {
    "flags": (8, 2),
    "method": (10, 2),
    "crc": (16, 4),
    "size": (20, 4),
    "whole size": (24, 4),
    "place": (42, 4),
}


def _table_field(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    entry = rng.choice(table_entries(content))
    offset, width = rng.choice(list(_FIELDS.values()))
    value = rng.choice((0, 1, 2**31, 2**32 - 1, 8, rng.randrange(2**32))) % 2 ** (8 * width)
    content[entry + offset : entry + offset + width] = value.to_bytes(width, "little")
    path.write_bytes(content)


def without_checksums(path: Path) -> None:
    """Zero in place of every checksum, as torch writes when it is told to leave them out."""
    content = bytearray(path.read_bytes())
    for entry in table_entries(content):
        (local,) = struct.unpack("<I", content[entry + 42 : entry + 46])
        content[entry + 16 : entry + 20] = content[local + 14 : local + 18] = bytes(4)
    path.write_bytes(content)


def _unsealed(path: Path, rng: random.Random) -> None:
    without_checksums(path)
    if rng.random() < 0.8:
        content = bytearray(path.read_bytes())
        EDITS["some bits flipped"](content, rng, len(content) // 4, len(content) // 2)
        path.write_bytes(content)


def _end_field(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    place = end + rng.randrange(4, 22)
    content[place] = rng.choice((0, 1, 0x7F, 0xFF, content[place] ^ 1))
    path.write_bytes(content)


def _before(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(rng.choice((b"\0" * 64, b"#!/bin/sh\n", content[:100], b"\x80\x02")) + content)


# --- the pickle inside ----------------------------------------------------------------------------


def _numbers(records: Records, rng: random.Random) -> None:
    """Sizes, strides, offsets and counts of tensors, one of them changed: the pickle stays whole."""
    numbers = [
        (place, position, opcode.name)
        for place, record in enumerate(records)
        if record.name.endswith(".pkl")
        for opcode, _, position in pickletools.genops(record.data)
        if opcode.name in ("BININT", "BININT1", "BININT2") and position is not None
    ]
    if not numbers:
        return
    place, position, name = rng.choice(numbers)
    content = bytearray(records[place].data)
    width = {"BININT": 4, "BININT1": 1, "BININT2": 2}[name]
    value = rng.choice((0, 1, 2, 255, 65_535, 2**31 - 1, 2**31, rng.randrange(2**32))) % 2 ** (8 * width)
    content[position + 1 : position + 1 + width] = value.to_bytes(width, "little")
    records[place] = replace(records[place], data=bytes(content))


def zip_mutations() -> list[Mutation]:
    """Changes to an archive of PyTorch; those with right checksums for what was changed say so."""
    from fuzz.bombs import bomb

    resealed = frozenset((CRC,))
    return [
        *(Mutation(f"archive: {name}", _resealed(edit), resealed) for name, edit in _RECORD_EDITS.items()),
        Mutation("archive: a size in the pickle", _resealed(_numbers), resealed),
        Mutation("archive: checksums left out", _unsealed, resealed),
        Mutation("archive: a field of the table", _table_field),
        Mutation("archive: a field of its end", _end_field),
        Mutation("archive: bytes before it", _before),
        Mutation("archive: a bomb of 3 GiB", bomb, resealed),
    ]


# --- whole files written again by torch -----------------------------------------------------------


def state_dict_of(content: Any) -> Tensors:
    """The mapping of tensors in a checkpoint, at most one level down."""
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    found: Tensors = next(value for value in content.values() if isinstance(value, dict))
    return found


def torch_mutations() -> list[Mutation]:
    """A checkpoint with other tensors, written by torch.save."""

    def apply_of(edit: TensorEdit) -> Callable[[Path, random.Random], None]:
        def apply(path: Path, rng: random.Random) -> None:
            content = torch.load(path, weights_only=False)
            edit(state_dict_of(content), rng)
            torch.save(content, path)

        return apply

    return [Mutation(f"rewritten: {name}", apply_of(edit), frozenset((CRC,))) for name, edit in TENSOR_EDITS.items()]
