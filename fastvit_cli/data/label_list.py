"""A table of images and their labels in place of class folders: one line an image, as CSV or TSV."""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fastvit_cli.data.held_out import held_out_part
from fastvit_cli.data.image_formats import image_suffixes
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.errors import FastViTError, excerpt
from fastvit_cli.names import composed

SUFFIXES = (".csv", ".tsv")
_PATHS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "image",
    "image_path",
    "image_name",
    "image_id",
    "id",
    "img",
)
_LABELS = ("label", "class", "class_name", "category", "target", "label_name", "breed", "species")
_SPLITS = ("split", "set", "subset", "partition")
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_HINT = "A list of labels has the columns path,label or path,label,split; paths are relative to the file."


@dataclass(frozen=True)
class _Columns:
    """Where a table has what; `one_hot` are columns of 0 and 1 by the class that each stands for."""

    path: int
    label: int | None
    split: int | None
    one_hot: dict[int, str]


def is_label_list(path: Path) -> bool:
    """Whether a path is that of a table, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def open_label_list(path: Path, split: str, val_split: float | None) -> ImageFolder:
    """The images of one split of a table.

    A path is relative to the table's folder. What is not there is looked for below it by name, with or without its
    suffix, as in tables of Kaggle's that name images by an id.

    Args:
        val_split: share of each class that is held out where no column says which split an image is of; None takes
            all of them as the split that is asked for.

    Raises:
        FastViTError: no table of labels, an image under two labels, no such split, or most of the files are missing.
    """
    stat = _stat(path)
    images, splits = _read(path, stat.st_mtime_ns, stat.st_size)
    if not splits:
        return images if val_split is None else held_out_part(images, val_split, split)
    chosen = np.flatnonzero(np.array(splits) == split)
    if not len(chosen):
        has = ", ".join(sorted(set(splits)))
        raise FastViTError(f"'{path}' has no '{split}' split.", f"Its splits are: {has}.")
    files = PackedNames.of(images.files[index] for index in chosen.tolist())
    return ImageFolder(images.root, images.class_names, files, images.labels[chosen])


def splits_in(path: Path) -> set[str]:
    """The splits that a table names; none where no column does. Raises as `open_label_list`."""
    stat = _stat(path)
    return set(_read(path, stat.st_mtime_ns, stat.st_size)[1])


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise FastViTError(f"'{path}' cannot be read ({error.strerror}).", _HINT) from error


@lru_cache(maxsize=2)  # of each split and what is asked before; the times of the file are part of the question
def _read(path: Path, _mtime_ns: int, _size: int) -> tuple[ImageFolder, tuple[str, ...]]:
    """All images of a table, and the split of each; no splits where no column names them."""
    rows = _rows(path)
    columns, body = _columns(path, rows)
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    for number, row in body:
        if len(row) <= max(columns.path, columns.label or 0, columns.split or 0, *columns.one_hot, 0):
            raise FastViTError(f"Line {number} of '{path}' has {len(row)} columns: {excerpt(','.join(row))}.", _HINT)
        name, label = row[columns.path].strip(), _label(path, number, row, columns)
        if labels.setdefault(name, label) != label:
            raise FastViTError(
                f"'{path}' calls '{excerpt(name)}' both '{excerpt(labels[name])}' and '{excerpt(label)}' "
                f"(line {number}).",
                "Keep one label for each image.",
            )
        if columns.split is not None:
            said = row[columns.split].strip().lower()
            if splits.setdefault(name, _SPLIT_NAMES.get(said, said)) != _SPLIT_NAMES.get(said, said):
                raise FastViTError(
                    f"'{path}' puts '{excerpt(name)}' into two splits (line {number}).", "Keep one for each image."
                )
    if not labels:
        raise FastViTError(f"'{path}' names no images.", _HINT)
    names = sorted(set(labels.values()), key=_numbers_first)
    position = {name: index for index, name in enumerate(names)}
    files = PackedNames.of(_found(path, list(labels)))
    indices = np.array([position[label] for label in labels.values()], dtype=np.int32)
    return ImageFolder(path.parent, tuple(names), files, indices), tuple(splits.values())


def _numbers_first(name: str) -> tuple[bool, int, str]:
    number = name.isascii() and name.isdigit()
    return not number, int(name) if number else 0, name


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max("\t;,", key=lambda mark: (first.count(mark), mark == ","))
            return [(number, row) for number, row in enumerate(csv.reader(file, delimiter=separator), 1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FastViTError(f"'{path}' cannot be read as a table ({error}).", _HINT) from error


def _columns(path: Path, rows: list[tuple[int, list[str]]]) -> tuple[_Columns, Iterable[tuple[int, list[str]]]]:
    """What the columns are, by a header or by their order, and the lines below it."""
    if not rows:
        raise FastViTError(f"'{path}' is empty.", _HINT)
    header = [cell.strip() for cell in rows[0][1]]
    lowered = [cell.lower() for cell in header]

    def one_of(names: Sequence[str]) -> int | None:
        return next((lowered.index(name) for name in names if name in lowered), None)

    place, label, split = one_of(_PATHS), one_of(_LABELS), one_of(_SPLITS)
    if place is not None and label is not None:
        return _Columns(place, label, split, {}), rows[1:]
    if place is not None and len(header) > 2:
        others = {index: composed(name) for index, name in enumerate(header) if index not in (place, split)}
        if all(
            row[index].strip() in ("0", "1", "0.0", "1.0")
            for _, row in rows[1:50]
            for index in others
            if index < len(row)
        ):
            return _Columns(place, None, split, others), rows[1:]
    if place is None and label is None and len(header) in (2, 3):
        return _Columns(0, 1, 2 if len(header) == 3 else None, {}), rows
    raise FastViTError(f"The columns of '{path}' cannot be told apart: {excerpt(', '.join(header))}.", _HINT)


def _label(path: Path, number: int, row: list[str], columns: _Columns) -> str:
    if columns.label is not None:
        label = composed(row[columns.label].strip())
        if not label:
            raise FastViTError(f"Line {number} of '{path}' has no label.", _HINT)
        return label
    chosen = [name for index, name in columns.one_hot.items() if row[index].strip() in ("1", "1.0")]
    if len(chosen) != 1:
        raise FastViTError(
            f"Line {number} of '{path}' names {len(chosen)} classes.", "Keep the lines of images with one class each."
        )
    return chosen[0]


def _found(path: Path, names: list[str]) -> list[str]:
    """Where the images are, relative to the table; a name that is nowhere stays, and cannot be read later."""
    missing = [name for name in names if not (path.parent / name).is_file()]
    if not missing:
        return names
    below: dict[str, set[str]] = defaultdict(set)
    suffixes = image_suffixes()
    for folder, _, files in os.walk(path.parent):
        for file in files:
            stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a Path for each of a million files is slow
            if suffix.lower() in suffixes:
                relative = os.path.relpath(os.path.join(folder, file), path.parent)  # noqa: PTH118 - as above
                below[file].add(relative)
                below[stem].add(relative)
    counts = Counter(len(below.get(os.path.basename(name), ())) for name in missing)  # noqa: PTH119 - as above
    if counts[0] > len(names) / 2:
        lost = next(name for name in missing if not below.get(os.path.basename(name)))  # noqa: PTH119 - as above
        raise FastViTError(
            f"{counts[0]:,} of the {len(names):,} images in '{path}' are not there; the first: '{excerpt(lost)}'.",
            "Put the file beside the folder of the images: its paths are relative to it.",
        )
    places = {}
    for name in missing:
        found = below.get(os.path.basename(name), set())  # noqa: PTH119 - as above
        if len(found) > 1:
            raise FastViTError(
                f"'{path}' names '{excerpt(name)}', which may be {' or '.join(sorted(found)[:2])}.",
                "Write the paths of the images, relative to the file.",
            )
        places[name] = next(iter(found), name)
    return [places.get(name, name) for name in names]
