"""Splits of the data sets that timm knows, read by index: one class for each kind of spec."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fastvit_cli.data.images import Labels
from fastvit_cli.data.wds_shards import ShardIndex

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class _Split:
    """What the images of all kinds of spec share."""

    where: str
    class_names: tuple[str, ...]
    labels: Labels

    @property
    def passed_over(self) -> Mapping[str, int]:
        return {}  # what they list is their own affair

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.where}[{index}]"

    def relabelled(self, class_names: tuple[str, ...], labels: Labels) -> Self:
        return replace(self, class_names=class_names, labels=labels)


@dataclass(frozen=True, eq=False)
class HfImages(_Split):
    """A split of a Hugging Face data set, whose arrow files are pickled by name: encoded images in one column."""

    dataset: Any
    column: str

    def name(self, index: int) -> str:
        path = (self.dataset[index][self.column] or {}).get("path")
        return path if path and Path(path).is_absolute() else super().name(index)

    def read(self, index: int) -> bytes:
        image = self.dataset[index][self.column] or {}
        content: bytes | None = image.get("bytes")
        if content:
            return content
        if not image.get("path"):
            raise OSError("the row holds no image")
        return Path(image["path"]).read_bytes()


@dataclass(frozen=True, eq=False)
class TorchImages(_Split):
    """A torchvision data set; it decodes its images itself."""

    dataset: Any

    def name(self, index: int) -> str:
        files = getattr(self.dataset, "samples", None) or getattr(self.dataset, "imgs", None)
        return str(files[index][0]) if files else super().name(index)

    def read(self, index: int) -> "Image":
        image: Image = self.dataset[index][0]
        return image


@dataclass(frozen=True, eq=False)
class WdsImages(_Split):
    """The images of some shards."""

    index: ShardIndex

    def name(self, index: int) -> str:
        return self.index.name(index)

    def read(self, index: int) -> bytes:
        return self.index.read(index)


@dataclass(frozen=True, eq=False)
class TfdsImages(_Split):
    """A split of a TensorFlow data set, opened again in every process."""

    source: tuple[str, str | None, str]

    def read(self, index: int) -> bytes:
        # Its readers run threads, which do not survive a fork: each process has its own.
        content: bytes = tfds_sources(*self.source[:2], os.getpid())[self.source[2]][index]["image"]
        return content


@lru_cache(maxsize=8)
def tfds_sources(name: str, root: str | None, process: int) -> Any:  # noqa: ARG001 - the cache's key
    """All splits by name. timm's reader is a stream and needs TensorFlow; this is the random access of tfds."""
    tfds = import_module("tensorflow_datasets")
    return tfds.data_source(name, data_dir=root, decoders={"image": tfds.decode.SkipDecoding()})
