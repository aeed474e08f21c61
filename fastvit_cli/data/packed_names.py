"""Many short strings in two arrays: 1.3 million paths cost their bytes, and worker processes share them."""

import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class PackedNames:
    """A sequence of strings: string i is `text[ends[i - 1]:ends[i]]` in the file system's encoding.

    A Python list of strings would be copied into every worker, page by page, as its reference counts change.
    """

    text: Bytes
    ends: "np.ndarray[tuple[int], np.dtype[np.int64]]"

    @staticmethod
    def of(names: Iterable[str]) -> "PackedNames":
        """Pack strings; odd bytes in file names survive."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        lengths = np.fromiter((len(name) for name in encoded), dtype=np.int64, count=len(encoded))
        return PackedNames(np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum(lengths))

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedNames, (ByReference(self.text), ByReference(self.ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = self.ends[index - 1] if index else 0
        return self.text[start : self.ends[index]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


class ByReference:
    """Stands for an array in a pickle: one mapped from a file travels as its place in that file, not as its content.

    Unpickled, it is the array. Worker processes that are spawned so share the pages that forked ones inherit.
    """

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        array = self.array
        # Slices of a map are maps too and keep its offset: only the map itself lies on the mmap. A file that was
        # removed meanwhile can still be read here, but not be opened there.
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and _is_file(array.filename):
            return open_map, (str(array.filename), array.dtype.str, array.shape, array.offset)
        return np.asarray, (np.asarray(array),)


def open_map(path: str, dtype: str, shape: tuple[int, ...], offset: int) -> "np.memmap[Any, Any]":
    """An array in a file, read-only; its pages are read when touched, and shared by all processes that map them.

    Raises:
        OSError, ValueError: no such file, or it is too short.
    """
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def _is_file(path: Any) -> bool:
    return path is not None and Path(path).is_file()
