"""Remembered listings of large splits: a million files take minutes on a network disk, their folders a second.

Two files a split, in the user's cache folder. The data file holds the arrays; its name holds a digest, and it never
changes, so that processes which have mapped it are safe from another that lists anew. A small JSON file, replaced
whole, says which data file is meant. What makes a listing void is a change of a folder's modification time. One thing
escapes that: a link that led nowhere when the split was listed, and now leads to a folder.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.data.class_folders import Listing, Progress, list_class_folders, stamp
from fastvit_cli.data.image_formats import image_suffixes
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames, open_map
from fastvit_cli.errors import FastViTError

VERSION = 2
MIN_IMAGES = 20_000
"""Smaller splits are listed every time: that takes a fraction of a second."""

_RACY_NS = 2_000_000_000  # the coarsest time stamps still in use, those of FAT
_DTYPES = {  # largest items first, so that all are aligned
    "stamps": "<i8",
    "directory_ends": "<i8",
    "file_ends": "<i8",
    "class_ends": "<i8",
    "labels": "<i4",
    "directory_text": "|u1",
    "file_text": "|u1",
    "class_text": "|u1",
}


def open_indexed(folder: Path, on_progress: Progress | None = None) -> ImageFolder:
    """`list_class_folders`, from the index when it still holds; a large split is indexed for the next time.

    Raises:
        FastViTError: as `list_class_folders`; never for the sake of the index.
    """
    known = load_index(folder)
    if known is not None:
        return known
    began_ns = time.time_ns()
    listing = list_class_folders(folder, on_progress)
    if len(listing.images) >= MIN_IMAGES and save_index(listing, began_ns):
        known = load_index(folder)  # mapped, which spawned workers can share
    return listing.images if known is None else known


def load_index(folder: Path) -> ImageFolder | None:
    """The remembered listing, its arrays mapped from the data file; None when there is none that holds."""
    try:
        pointer = _pointer(folder)
        said = json.loads(pointer.read_bytes())
        shapes, passed_over, digest = said["shapes"], said["passed_over"], said["digest"]
        data = _data(pointer, digest)
        with data.open("rb") as file:
            started = hashlib.blake2b(_header(folder, shapes, passed_over), digest_size=16)
            if hashlib.file_digest(file, lambda: started).hexdigest() != digest:
                return None
        arrays = _map(data, shapes)
        directories = PackedNames(arrays["directory_text"], arrays["directory_ends"])
        for directory, then in zip(directories, arrays["stamps"].tolist(), strict=True):
            if stamp((folder / directory).stat()) != tuple(then):
                return None
        classes = PackedNames(arrays["class_text"], arrays["class_ends"])
        files = PackedNames(arrays["file_text"], arrays["file_ends"])
        return ImageFolder(folder, tuple(classes), files, arrays["labels"], passed_over)
    except Exception:  # whatever is the matter with a cache, listing again is the answer
        return None


def save_index(listing: Listing, began_ns: int) -> bool:
    """Remember a listing that began at `began_ns` (`time.time_ns`), and say whether that was possible.

    It is not where the cache cannot be written, and while a folder is as young as the listing: a change within the
    same tick of the file system's clock would go unseen.
    """
    if (listing.stamps[:, 0] > began_ns - _RACY_NS).any():
        return False
    images = listing.images
    classes = PackedNames.of(images.class_names)
    named: dict[str, np.ndarray[Any, Any]] = {
        "stamps": listing.stamps,
        "directory_ends": listing.directories.ends,
        "file_ends": images.files.ends,
        "class_ends": classes.ends,
        "labels": images.labels,
        "directory_text": listing.directories.text,
        "file_text": images.files.text,
        "class_text": classes.text,
    }
    shapes = {name: list(array.shape) for name, array in named.items()}
    flat = [np.ascontiguousarray(named[name], dtype).reshape(-1).data for name, dtype in _DTYPES.items()]
    hashed = hashlib.blake2b(_header(images.root, shapes, images.passed_over), digest_size=16)
    for part in flat:
        hashed.update(part)
    try:
        pointer = _pointer(images.root)
        data = _data(pointer, hashed.hexdigest())
        with replaced_when_done(data) as temporary, temporary.open("wb") as file:
            for part in flat:
                file.write(part)
        with replaced_when_done(pointer) as temporary:
            said = {"shapes": shapes, "passed_over": images.passed_over, "digest": hashed.hexdigest()}
            temporary.write_text(json.dumps(said))
    except (FastViTError, OSError):
        return False
    _remove_older(pointer, data)
    return True


def _pointer(folder: Path) -> Path:
    import platformdirs

    key = hashlib.blake2b(_place(folder).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return platformdirs.user_cache_path("fastvit") / "index" / f"{key}.json"


def _data(pointer: Path, digest: str) -> Path:
    return pointer.with_name(f"{pointer.stem}-{digest}.bin")


def _place(folder: Path) -> str:
    return str(folder.absolute())


def _header(folder: Path, shapes: dict[str, Any], passed_over: Mapping[str, int]) -> bytes:
    """What the digest covers beside the data: an index of another place, version or suffixes does not match."""
    covered = [VERSION, sorted(image_suffixes()), _place(folder), shapes, passed_over]
    return json.dumps(covered, sort_keys=True).encode()


def _map(data: Path, shapes: dict[str, list[int]]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    offset = 0
    for name, dtype in _DTYPES.items():
        arrays[name] = open_map(str(data), dtype, tuple(shapes[name]), offset)
        offset += np.dtype(dtype).itemsize * math.prod(shapes[name])
    return arrays


def _remove_older(pointer: Path, data: Path) -> None:
    """All data files but this one and the one before, which a process starting its workers may be about to open."""
    with contextlib.suppress(OSError):
        others = [path for path in pointer.parent.glob(f"{pointer.stem}-*.bin") if path != data]
        for path in sorted(others, key=lambda path: path.stat().st_mtime_ns)[:-1]:
            path.unlink()
