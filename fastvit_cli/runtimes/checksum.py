"""The checksum that an exported file carries of all it holds, so that none that was damaged is scored."""

import hashlib
import re
import zipfile
from pathlib import Path

from fastvit_cli.errors import FastViTError

CHECKSUM_KEY = "fastvit_checksum"
BLANK = "0" * 64
"""What stands in its place while it is computed: exporters write it, `add_checksum` puts the checksum there."""

_ARCHIVES = (".pt2", ".torchscript")
# Between the key and its value lie two bytes of protobuf, or the name of an attribute in XML.
_ENTRY = re.compile(CHECKSUM_KEY.encode() + rb'(?:\x12@| value=")?')


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an export consists of, the one with the metadata first, always in the same order.

    Hidden files, which file managers leave in packages, are none of them.
    """
    if path.suffix == ".xml":
        return (path, path.with_suffix(".bin"))
    if not path.is_dir():
        return (path,)
    inside = (file for file in path.rglob("*") if not file.is_dir() and not file.name.startswith("."))
    return tuple(sorted(inside, key=lambda file: (file.suffix != ".mlmodel", file.as_posix())))


def add_checksum(path: Path) -> None:
    """Write into a finished export, as the last thing, the checksum of all it holds.

    PyTorch's archives get a record of their own; in the metadata of other files it takes the place of `BLANK`.
    """
    checksum = _computed(path)
    if path.suffix in _ARCHIVES:
        with zipfile.ZipFile(path, "a") as archive:
            folder = archive.namelist()[0].partition("/")[0]
            record = zipfile.ZipInfo(f"{folder}/extra/{CHECKSUM_KEY}")  # dated 1980, whenever it is written
            archive.writestr(record, checksum)
        return
    with files_of(path)[0].open("r+b") as file:
        place = _place(file.read())
        assert place is not None
        file.seek(place)
        file.write(checksum.encode())


def check_checksum(path: Path) -> None:
    """Compare an export with the checksum that it carries. One without, such as another program's, passes.

    Raises:
        FastViTError: they differ.
        Exception: whatever Python's `zipfile` meets in a damaged archive.
    """
    stored = _stored(path)
    if stored is not None and stored != _computed(path).encode():
        raise FastViTError(
            f"'{path}' is not as `fastvit export` wrote it: its checksum differs.",
            f"It was damaged: export or copy it again. If you changed it, take {CHECKSUM_KEY} out of its metadata.",
        )


def _stored(path: Path) -> bytes | None:
    if path.suffix in _ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            return next((archive.read(record) for record in archive.infolist() if _is_checksum(record)), None)
    files = files_of(path)
    content = files[0].read_bytes() if files else b""
    place = _place(content)
    return None if place is None else content[place : place + len(BLANK)]


def _computed(path: Path) -> str:
    """SHA-256 over lengths and contents of all files or records, and over the names where there may be several."""
    digest = hashlib.sha256()
    if path.suffix in _ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if not _is_checksum(record):
                    digest.update(f"{record.filename} {record.file_size}\n".encode())
                    with archive.open(record) as stream:
                        while chunk := stream.read(2**20):
                            digest.update(chunk)
        return digest.hexdigest()
    for number, file in enumerate(files_of(path)):
        content = file.read_bytes()
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        digest.update(f"{name} {len(content)}\n".encode())
        place = _place(content) if number == 0 else None
        if place is not None:
            digest.update(memoryview(content)[:place])
            digest.update(BLANK.encode())
        digest.update(memoryview(content)[0 if place is None else place + len(BLANK) :])
    return digest.hexdigest()


def _place(content: bytes) -> int | None:
    """Where the value of the entry begins; None without an entry."""
    start = content.rfind(CHECKSUM_KEY.encode())
    entry = _ENTRY.match(content, start) if start >= 0 else None
    return None if entry is None else entry.end()


def _is_checksum(record: zipfile.ZipInfo) -> bool:
    return record.filename.endswith(f"/extra/{CHECKSUM_KEY}")
