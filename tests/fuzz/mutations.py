"""What happens to files: bytes that change, and things that stand in a file's place."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CRC, OWN, NO_SEAL = "crc", "own", "none"
"""What tells that a file was changed: its archive's checksums, fastvit's own checksum, nothing at all."""

Apply = Callable[[Path, random.Random], None]
Edit = Callable[[bytearray, random.Random, int, int], None]
Region = Callable[[bytes], tuple[int, int]]

EDGE = 4096  # bytes at the start and the end of a file, where its tables are
_LONGEST = 512  # bytes that one edit touches


@dataclass(frozen=True)
class Mutation:
    """One kind of change.

    Attributes:
        apply: changes the file or folder at a path, with the random numbers of its case.
        defeats: the seals that fit the changed file again, so that nothing in it tells of the change.
    """

    name: str
    apply: Apply
    defeats: frozenset[str] = frozenset()


# --- bytes ----------------------------------------------------------------------------------------


def _place(rng: random.Random, start: int, end: int) -> tuple[int, int]:
    first = rng.randrange(start, max(start + 1, end))
    return first, min(end, first + rng.randint(1, _LONGEST))


def flip_bit(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    content[rng.randrange(start, end)] ^= 1 << rng.randrange(8)


def flip_bits(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    for _ in range(rng.randint(2, 40)):
        flip_bit(content, rng, start, end)


def replace_byte(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    """By one that means something to a parser."""
    content[rng.randrange(start, end)] = rng.choice(b'"{}[],:0987-.eE\\/<>\x00\x01\x7f\x80\xff \nRcb(')


def zero_run(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    first, last = _place(rng, start, end)
    content[first:last] = bytes(last - first)


def random_run(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    first, last = _place(rng, start, end)
    content[first:last] = rng.randbytes(last - first)


def insert_run(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    first, last = _place(rng, start, end)
    content[first:first] = rng.randbytes(last - first)


def duplicate_run(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    first, last = _place(rng, start, end)
    content[first:first] = content[first:last]


def delete_run(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    first, last = _place(rng, start, end)
    del content[first:last]


def swap_chunks(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    size = min(_LONGEST, max(1, (end - start) // 2))
    one = rng.randrange(start, max(start + 1, end - 2 * size + 1))
    other = rng.randrange(one + size, max(one + size + 1, end - size + 1))
    content[one : one + size], content[other : other + size] = (
        content[other : other + size],
        content[one : one + size],
    )


def set_number(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    """A length, an offset or a count by one at the edge of its type."""
    width = rng.choice((1, 2, 4, 8))
    first = rng.randrange(start, max(start + 1, end - width))
    top = 1 << 8 * width
    old = int.from_bytes(content[first : first + width], "little")
    new = rng.choice((0, 1, old + 1, old - 1, 2 * old, top - 1, top // 2, top // 2 - 1, rng.randrange(top))) % top
    content[first : first + width] = new.to_bytes(width, "little")


def truncate(content: bytearray, rng: random.Random, start: int, end: int) -> None:
    del content[rng.randrange(start, end) :]


def append(content: bytearray, rng: random.Random, _start: int, _end: int) -> None:
    content.extend(rng.choice((b"\0", b"\0" * 4096, rng.randbytes(100), bytes(content[:1000]))))


EDITS: dict[str, Edit] = {
    "a bit flipped": flip_bit,
    "some bits flipped": flip_bits,
    "a byte replaced": replace_byte,
    "bytes zeroed": zero_run,
    "random bytes": random_run,
    "bytes inserted": insert_run,
    "bytes doubled": duplicate_run,
    "bytes left out": delete_run,
    "chunks swapped": swap_chunks,
    "a number changed": set_number,
    "cut off": truncate,
    "bytes appended": append,
}


def anywhere(content: bytes) -> tuple[int, int]:
    return 0, len(content)


def at_start(content: bytes) -> tuple[int, int]:
    return 0, min(EDGE, len(content))


def at_end(content: bytes) -> tuple[int, int]:
    return max(0, len(content) - EDGE), len(content)


def in_metadata(content: bytes) -> tuple[int, int]:
    """Around fastvit's JSON text, which names the classes."""
    found = content.find(b"class_names")
    return (max(0, found - 500), min(len(content), found + 300)) if found >= 0 else at_start(content)


REGIONS: dict[str, Region] = {
    "anywhere": anywhere,
    "at the start": at_start,
    "at the end": at_end,
    "in the metadata": in_metadata,
}


def edit_file(path: Path, rng: random.Random, edit: Edit, region: Region = anywhere) -> None:
    """Change the bytes of one file; an empty one stays as it is."""
    content = bytearray(path.read_bytes())
    if content:
        edit(content, rng, *region(content))
        path.write_bytes(content)


def byte_mutations(regions: dict[str, Region] = REGIONS) -> list[Mutation]:
    """Every edit in every region."""

    def apply_of(edit: Edit, region: Region) -> Apply:
        return lambda path, rng: edit_file(path, rng, edit, region)

    return [
        Mutation(f"{what}, {where}", apply_of(edit, region))
        for what, edit in EDITS.items()
        for where, region in regions.items()
    ]


# --- what stands in a file's place ----------------------------------------------------------------


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replaced(make: Callable[[Path], object]) -> Apply:
    def apply(path: Path, _rng: random.Random) -> None:
        _gone(path)
        make(path)

    return apply


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _good_link(path: Path, _rng: random.Random) -> None:
    target = path.with_name(f"target-{path.name}")
    path.rename(target)
    path.symlink_to(target)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 * 2**30)


_OTHER_CONTENT = {
    "an empty file": b"",
    "a web page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "JSON": b'{"message": "Not Found"}',
    "a number": b"7",
    "zeros": bytes(100_000),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(1000),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "a tar": b"storages" + bytes(249) + b"ustar\x0000" + bytes(2000),
    "deep brackets": b"[" * 200_000,
    "eight bytes of a length": (2**63 - 1).to_bytes(8, "little") + b"{",
}


def place_mutations() -> list[Mutation]:
    """A FIFO, a folder, links and other content in the place of the file."""
    places: list[tuple[str, Apply]] = [
        ("missing", _replaced(lambda _path: None)),
        ("a FIFO", _replaced(os.mkfifo)),
        ("a folder", _replaced(Path.mkdir)),
        ("a socket", _replaced(_socket)),
        ("a link to itself", _replaced(lambda path: path.symlink_to(path))),
        ("a link to nothing", _replaced(lambda path: path.symlink_to(path.with_name("gone")))),
        ("a link to /dev/zero", _replaced(lambda path: path.symlink_to("/dev/zero"))),
        ("a link to a folder", _replaced(lambda path: path.symlink_to(path.parent))),
        ("a link to the file", _good_link),
        ("a sparse file of 20 GB", _replaced(_sparse)),
    ]
    places += [
        (f"{name} instead", _replaced(lambda path, content=content: path.write_bytes(content)))
        for name, content in _OTHER_CONTENT.items()
    ]
    return [Mutation(name, apply) for name, apply in places]


def inside(name: str, mutation: Mutation) -> Mutation:
    """The same change to one file of a folder."""
    return Mutation(
        f"{name}: {mutation.name}", lambda folder, rng: mutation.apply(folder / name, rng), mutation.defeats
    )
