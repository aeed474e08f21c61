"""Archives of a few megabytes that unpack to gigabytes."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

from fuzz.archives import pick_record, read_zip, table_entries, write_zip

_BOMB_BLOCK = 2**24  # zeros
_BOMB_BLOCKS = 192  # 3 GiB


def bomb_stream() -> tuple[bytes, int, int]:
    """A deflate stream of zeros, its checksum and its length: 3 GiB from 3 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(_BOMB_BLOCK)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(_BOMB_BLOCKS):
        crc = zlib.crc32(zeros, crc)
    return block * _BOMB_BLOCKS + packer.flush(), crc, _BOMB_BLOCK * _BOMB_BLOCKS


def bomb(path: Path, rng: random.Random) -> None:
    """One record unpacks to 3 GiB, with the right checksum."""
    records = read_zip(path)
    place = pick_record(records, rng, rng.choice(("data/", ".pkl", "")))
    stream, crc, size = bomb_stream()
    marker = rng.randbytes(16)
    records[place] = replace(records[place], data=marker + bytes(len(stream) - 16), deflated=False)
    write_zip(path, records)
    content = bytearray(path.read_bytes())
    entry = table_entries(content)[place]
    (local,) = struct.unpack("<I", content[entry + 42 : entry + 46])
    data = content.index(marker)
    content[data : data + len(stream)] = stream
    for table, first in ((entry, 10), (local, 8)):
        content[table + first : table + first + 2] = (8).to_bytes(2, "little")  # deflated
        content[table + first + 6 : table + first + 10] = crc.to_bytes(4, "little")
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    extra = local + 30 + struct.unpack("<H", content[local + 26 : local + 28])[0]
    content[extra + 4 : extra + 12] = size.to_bytes(8, "little")  # zip64, which write_zip asked for
    path.write_bytes(content)
