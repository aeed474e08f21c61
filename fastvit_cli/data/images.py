"""What one split of a data set offers: encoded images by index, their labels and their names."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastvit_cli.data.packed_names import ByReference, PackedNames

if TYPE_CHECKING:
    from PIL.Image import Image

Labels = np.ndarray[tuple[int], np.dtype[np.int32]]


class Images(Protocol):
    """One split, readable in any order and from any process.

    Attributes:
        where: the split as messages name it.
        class_names: what the labels index.
        labels: int32 (N,).
        passed_over: files beside the images that are not read, by `passed_over.kind_of`.
    """

    @property
    def where(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def passed_over(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """One image as messages and tables name it: its path where it has one."""
        ...

    def read(self, index: int) -> "bytes | Image":
        """The encoded file, or a decoded image where the data set keeps no files.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def relabelled(self, class_names: tuple[str, ...], labels: Labels) -> "Images":
        """The same images under other labels."""
        ...


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """A split of class folders. `files[i]` is relative to `root`."""

    root: Path
    class_names: tuple[str, ...]
    files: PackedNames
    labels: Labels
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        labels = ByReference(self.labels)
        return ImageFolder, (self.root, self.class_names, self.files, labels, self.passed_over)

    @property
    def where(self) -> str:
        return str(self.root)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.root / self.files[index])

    def read(self, index: int) -> bytes:
        with (self.root / self.files[index]).open("rb", buffering=0) as file:  # whole files need no buffer between
            return file.read()

    def relabelled(self, class_names: tuple[str, ...], labels: Labels) -> "ImageFolder":
        return replace(self, class_names=class_names, labels=labels)


def relabel(labels: Labels, lookup: Labels) -> Labels:
    """`lookup[labels]`; the array itself where nothing changes, which may be mapped from a file."""
    return labels if np.array_equal(lookup, np.arange(len(lookup))) else lookup[labels]
