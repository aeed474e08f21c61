"""The checksum that an exported file carries of all it holds, so that none that was damaged is scored."""

import hashlib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ZIP_SUFFIXES, format_of

CHECKSUM_KEY = "fastvit_checksum"
BLANK = "0" * 64
"""What exporters write in its place, where `add_checksum` then puts it."""

# Between the key and its value lie two bytes of protobuf, or the name of an attribute in XML.
_ENTRY = re.compile(CHECKSUM_KEY.encode() + rb'(?:\x12@| value=")?')


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an export consists of, the one with the metadata first, always in the same order.

    Hidden files, which file managers leave in packages, are none of them.
    """
    if not path.is_dir():
        exported = format_of(path)
        return (path, *(path.with_suffix(suffix) for suffix in exported.side_files)) if exported else (path,)
    inside = (file for file in path.rglob("*") if not file.is_dir() and not file.name.startswith("."))
    return tuple(sorted(inside, key=lambda file: (file.suffix != ".mlmodel", file.as_posix())))


def add_checksum(path: Path) -> None:
    """Write into a finished export, as the last thing, the checksum of all it holds.

    PyTorch's archives get a record of their own; in the metadata of other files it takes the place of `BLANK`.
    """
    if path.suffix in ZIP_SUFFIXES:
        with zipfile.ZipFile(path, "a") as archive:
            folder = archive.namelist()[0].partition("/")[0]
            record = zipfile.ZipInfo(f"{folder}/extra/{CHECKSUM_KEY}")  # dated 1980, whenever it is written
            archive.writestr(record, _of_records(archive))
        return
    first, *others = files_of(path)
    content = first.read_bytes()
    place = _place(content)
    assert place is not None
    with first.open("r+b") as file:
        file.seek(place)
        file.write(_of_files(path, content, place, others).encode())


def check_checksum(path: Path) -> None:
    """Compare an export with the checksum that it carries. One without, such as another program's, passes.

    Raises:
        FastViTError: they differ.
        Exception: whatever Python's `zipfile` meets in a damaged archive.
    """
    if path.suffix in ZIP_SUFFIXES:
        with zipfile.ZipFile(path) as archive:
            record = next(filter(_is_checksum, archive.infolist()), None)
            same = record is None or archive.read(record) == _of_records(archive).encode()
    elif files := files_of(path):
        content = files[0].read_bytes()
        place = _place(content)
        stored = b"" if place is None else content[place : place + len(BLANK)]
        same = place is None or stored == _of_files(path, content, place, files[1:]).encode()
    else:  # an empty folder
        return
    if not same:
        raise FastViTError(
            f"'{path}' is not as `fastvit export` wrote it: its checksum differs.",
            f"It was damaged: export or copy it again. If you changed it, take {CHECKSUM_KEY} out of its metadata.",
        )


def _of_files(path: Path, content: bytes, place: int, others: Sequence[Path]) -> str:
    """SHA-256 of a file without what stands at the place of its checksum, and of the other files of an export."""
    digest = hashlib.sha256(memoryview(content)[:place])
    digest.update(memoryview(content)[place + len(BLANK) :])
    for file in others:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        digest.update(f"{name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def _of_records(archive: zipfile.ZipFile) -> str:
    """SHA-256 over names, lengths and contents of all records but the checksum."""
    digest = hashlib.sha256()
    for record in archive.infolist():
        if record.external_attr & 0x10:  # marked as a folder: torch would take memory as it finds it for its content
            raise zipfile.BadZipFile(f"{record.filename} is no record")
        if not _is_checksum(record):
            digest.update(f"{record.filename} {record.file_size}\n".encode())
            with archive.open(record) as stream:
                while chunk := stream.read(2**20):
                    digest.update(chunk)
    return digest.hexdigest()


def _place(content: bytes) -> int | None:
    """Where the value of the entry begins; None without an entry."""
    start = content.rfind(CHECKSUM_KEY.encode())
    entry = _ENTRY.match(content, start) if start >= 0 else None
    return None if entry is None else entry.end()


def _is_checksum(record: zipfile.ZipInfo) -> bool:
    return record.filename.endswith(f"/extra/{CHECKSUM_KEY}")
