"""`--class-map`: which index each class folder has, where that is not its sorted position."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.data.images import Images, relabel
from fastvit_cli.errors import FastViTError
from fastvit_cli.names import composed

MAX_INDEX = 1_000_000
_HINT = 'A class map is a text file with one class folder a line, or JSON: {"folder": index, ...}.'


@dataclass(frozen=True)
class ClassMap:
    """Attributes:
    where: the file, as messages name it.
    indices: class folder to index; neither occurs twice, none is above `MAX_INDEX`.
    """

    where: str
    indices: dict[str, int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names by index; "class 17" where the map names none."""
        names = {index: name for name, index in self.indices.items()}
        return tuple(names.get(index, unnamed(index)) for index in range(max(names) + 1))


def unnamed(index: int) -> str:
    """What a class without a name is called."""
    return f"class {index}"


def read_class_map(path: Path) -> ClassMap:
    """Read a text file with one class folder a line (index 0 first), or a JSON object from class folder to index.

    Raises:
        FastViTError: it cannot be read, holds neither, or names or indices that cannot be meant.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FastViTError(f"The class map '{path}' cannot be read ({error.strerror or error}).", _HINT) from error
    except UnicodeDecodeError as error:
        raise FastViTError(f"The class map '{path}' is not a text file.", _HINT) from error
    is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("{")
    read = _json_pairs(path, text) if is_json else _lines(path, text)
    pairs = [(composed(name), index) for name, index in read]
    if not pairs:
        raise FastViTError(f"The class map '{path}' is empty.", _HINT)
    _check(path, pairs)
    return ClassMap(str(path), dict(pairs))


def apply(images: Images, class_map: ClassMap) -> Images:
    """The same images, labelled by the map. Classes of the map that have no folder are fine.

    Raises:
        FastViTError: class folders that the map does not name.
    """
    unknown = [name for name in images.class_names if name not in class_map.indices]
    if unknown:
        raise FastViTError(
            f"'{images.where}' holds {len(unknown)} class folders that '{class_map.where}' does not name: "
            f"{some(unknown)}.",
            "Add them to the class map, or move them away.",
        )
    lookup = np.array([class_map.indices[name] for name in images.class_names], dtype=np.int32)
    return images.relabelled(class_map.class_names, relabel(images.labels, lookup))


def some(names: list[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _lines(path: Path, text: str) -> list[tuple[str, Any]]:
    # Not splitlines, which would also split a name at the line separators of Unicode.
    names = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    if "" in names:
        raise FastViTError(f"Line {names.index('') + 1} of the class map '{path}' is empty.", _HINT)
    return [(name, index) for index, name in enumerate(names)]


def _json_pairs(path: Path, text: str) -> list[tuple[str, Any]]:
    class Pairs(list[tuple[str, Any]]):
        """An object as read, repeated keys included; not to be taken for a JSON list."""

    try:
        read = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise FastViTError(f"The class map '{path}' is not valid JSON ({error}).", _HINT) from error
    if not isinstance(read, Pairs):
        raise FastViTError(f"The class map '{path}' is not a JSON object.", _HINT)
    return list(read)


def _check(path: Path, pairs: list[tuple[str, Any]]) -> None:
    """Refuse an index that is no whole number from 0 to `MAX_INDEX`, and names or indices that occur twice."""
    names: set[str] = set()
    by_index: dict[int, str] = {}
    for name, index in pairs:
        if type(index) is not int or not 0 <= index <= MAX_INDEX:
            raise FastViTError(
                f"The class map '{path}' gives '{name}' the index {repr(index)[:40]}.",
                f"Indices are whole numbers from 0 to {MAX_INDEX}.",
            )
        if name in names:
            raise FastViTError(f"The class map '{path}' names '{name}' twice.", _HINT)
        if index in by_index:
            raise FastViTError(
                f"The class map '{path}' gives '{by_index[index]}' and '{name}' the same index {index}.", _HINT
            )
        names.add(name)
        by_index[index] = name
    for index in set(range(max(by_index))) - set(by_index):
        if unnamed(index) in names:
            raise FastViTError(
                f"The class map '{path}' names a folder '{unnamed(index)}', which is what index {index} is called "
                "for want of a name.",
                f"Give index {index} a name, or the folder another.",
            )
