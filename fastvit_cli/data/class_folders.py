"""Listing the images of class folders, and what of the folders was seen."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.errors import FastViTError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"))
FOLDER_HINT = "Pass --data with a folder that holds train/ and val/, each with one folder a class."
_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))

Progress = Callable[[int, int], None]
"""Called with the class folders listed so far and their number."""

Stamp = tuple[int, int]
_Identity = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Listing:
    """A listed split, and the state it was listed in.

    Attributes:
        directories: every folder read, relative to the split, "." for itself.
        stamps: int64 (D, 2), the `stamp` of each, taken before it was read.
    """

    images: ImageFolder
    directories: PackedNames
    stamps: "np.ndarray[tuple[int, int], np.dtype[np.int64]]"


def open_class_folders(folder: Path, on_progress: Progress | None = None) -> ImageFolder:
    """List `folder/<class>/**`: classes sorted, and the paths within each; links are followed.

    Raises:
        FastViTError: no class folders, a class without images, or a folder that cannot be read.
    """
    return list_class_folders(folder, on_progress).images


def list_class_folders(folder: Path, on_progress: Progress | None = None) -> Listing:
    """`open_class_folders`, with what an index has to remember. Raises the same."""
    top = _stat(folder)
    seen = {".": stamp(top)}
    classes, loose_images = _class_folders(folder)
    if not classes:
        holds = "images but no class folders" if loose_images else "no class folders"
        raise FastViTError(f"'{folder}' holds {holds}.", FOLDER_HINT)
    # A link to any folder above is a cycle, the split's own parents included.
    above = frozenset(_identity(_stat(parent)) for parent in folder.resolve().parents) | {_identity(top)}
    paths: list[str] = []
    counts: list[int] = []
    for done, name in enumerate(classes, start=1):
        found = sorted(_images_below(folder, name, above, seen))
        if not found:
            raise FastViTError(
                f"The class folder '{folder / name}' holds no images.",
                f"Remove it or put images into it ({', '.join(_SUFFIXES)}).",
            )
        paths += found
        counts.append(len(found))
        if on_progress is not None:
            on_progress(done, len(classes))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    images = ImageFolder(folder, tuple(classes), PackedNames.of(paths), labels)
    return Listing(images, PackedNames.of(seen), np.array(list(seen.values()), dtype=np.int64))


def stamp(stat: os.stat_result) -> Stamp:
    """What changes with a folder's entries, in ns: the second also when a copy restores the first (tar, rsync -a)."""
    return stat.st_mtime_ns, stat.st_ctime_ns


def _class_folders(folder: Path) -> tuple[list[str], bool]:
    """The sorted names of the class folders, and whether images lie beside them."""
    classes, loose_images = [], False
    for entry in _entries(folder):
        if _is_folder(entry):
            classes += [entry.name] if not entry.name.startswith(".") else []
        else:
            loose_images = loose_images or is_image(entry)
    return sorted(classes), loose_images


def _images_below(folder: Path, name: str, above: frozenset[_Identity], seen: dict[str, Stamp]) -> list[str]:
    """Paths relative to `folder`, unsorted. Adds each folder read to `seen`.

    Args:
        above: the folders on the way here. One that is among its own is a link cycle and skipped; one that is
            reached twice otherwise is listed twice, as two links ask for.
    """
    images: list[str] = []
    waiting = [(name, above)]
    while waiting:
        relative, ancestors = waiting.pop()
        stat = _stat(folder / relative)
        if _identity(stat) in ancestors:
            continue
        seen[relative] = stamp(stat)
        inside = ancestors | {_identity(stat)}
        for entry in _entries(folder / relative):
            if _is_folder(entry) and not entry.name.startswith("."):
                waiting.append((f"{relative}/{entry.name}", inside))
            elif is_image(entry):
                images.append(f"{relative}/{entry.name}")
    return images


def is_image(entry: "os.DirEntry[str] | Path") -> bool:
    """Whether it is named like an image and not hidden, and no pipe or device, whose reader might wait for ever.

    A link that leads nowhere is one: that it cannot be read is said where images are read.
    """
    if not entry.name.lower().endswith(_SUFFIXES) or entry.name.startswith("."):
        return False
    try:
        return entry.is_file() or not Path(entry).exists()  # of an entry the first costs nothing
    except OSError:
        return True


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be entered
        return False


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _stat(folder: Path) -> os.stat_result:
    try:
        return folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> FastViTError:
    return FastViTError(
        f"The folder '{folder}' cannot be read ({error.strerror or error}).", "Check its permissions."
    )


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino
