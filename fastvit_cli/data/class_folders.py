"""Listing the images of class folders, and what of the folders was seen."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fastvit_cli.data.image_formats import image_suffixes
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.data.passed_over import LOOSE, kind_of, passed_over_words
from fastvit_cli.errors import FastViTError
from fastvit_cli.names import composed

FOLDER_HINT = "Pass --data with a folder that holds train/ and val/, each with one folder a class."
IMAGES_HINT = "Put images into it: .jpg, .png, .webp, .tif, .avif or another kind that Pillow reads."

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


def list_class_folders(folder: Path, on_progress: Progress | None = None) -> Listing:
    """List `folder/<class>/**`: classes sorted, and the paths within each; links are followed.

    Names of classes are in Unicode's composed form: two folders that differ in the form alone are one class. A class
    folder without images is a class too.

    Raises:
        FastViTError: no class folders, no images in them, or a folder that cannot be read.
    """
    top = _stat(folder)
    seen = {".": stamp(top)}
    classes, passed_over = _class_folders(folder)
    if not classes:
        holds = "images but no class folders" if passed_over[LOOSE] else "no class folders"
        raise FastViTError(f"'{folder}' holds {holds}.", FOLDER_HINT)
    # A link to any folder above is a cycle, the split's own parents included.
    above = frozenset(_identity(_stat(parent)) for parent in folder.resolve().parents) | {_identity(top)}
    paths: list[str] = []
    counts: list[int] = []
    for done, names in enumerate(classes.values(), start=1):
        found = sorted(chain.from_iterable(_images_below(folder, name, above, seen, passed_over) for name in names))
        paths += found
        counts.append(len(found))
        if on_progress is not None:
            on_progress(done, len(classes))
    if not paths:
        raise FastViTError(
            f"The class folders of '{folder}' hold no images.", passed_over_words(passed_over) or IMAGES_HINT
        )
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    images = ImageFolder(folder, tuple(classes), PackedNames.of(paths), labels, dict(sorted(passed_over.items())))
    return Listing(images, PackedNames.of(seen), np.array(list(seen.values()), dtype=np.int64))


def stamp(stat: os.stat_result) -> Stamp:
    """What changes with a folder's entries, in ns: the second also when a copy restores the first (tar, rsync -a)."""
    return stat.st_mtime_ns, stat.st_ctime_ns


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in it that are not hidden, sorted.

    Raises:
        FastViTError: it cannot be read.
    """
    return sorted(entry.name for entry in _entries(folder) if _is_folder(entry) and not entry.name.startswith("."))


def _class_folders(folder: Path) -> tuple[dict[str, list[str]], "Counter[str]"]:
    """The folders of each class, sorted by its name, and how many images lie beside them."""
    classes: dict[str, list[str]] = {}
    loose: Counter[str] = Counter()
    for entry in _entries(folder):
        if not _is_folder(entry):
            loose[LOOSE] += is_image(entry)
        elif not entry.name.startswith("."):
            classes.setdefault(composed(entry.name), []).append(entry.name)
    return dict(sorted(classes.items())), +loose


def _images_below(
    folder: Path, name: str, above: frozenset[_Identity], seen: dict[str, Stamp], passed_over: "Counter[str]"
) -> list[str]:
    """Paths relative to `folder`, unsorted. Adds each folder read to `seen`, and each other file to `passed_over`.

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
            if is_image(entry):
                images.append(f"{relative}/{entry.name}")
            elif not _is_folder(entry):
                passed_over[kind_of(entry.name)] += 1
            elif not entry.name.startswith("."):
                waiting.append((f"{relative}/{entry.name}", inside))
    return images


def is_image(entry: "os.DirEntry[str] | Path") -> bool:
    """Whether it is named like an image and not hidden, and no pipe or device, whose reader might wait for ever.

    A link that leads nowhere is one: that it cannot be read is said where images are read.
    """
    name = entry.name
    if name[name.rfind(".") :].lower() not in image_suffixes() or name.startswith("."):
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
