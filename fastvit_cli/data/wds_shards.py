"""WebDataset shards by index: where in which tar file each image lies, found by reading the headers once.

timm reads shards as a stream, in an order that depends on the number of workers. Here the conventions are timm's
(`_info.json`, the image under `jpg`, `png` or `webp`, the class under `cls` or the split's `alt_label`) and the
access is by index.
"""

import functools
import json
import operator
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.compat import shard_name_parts
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.errors import FastViTError

_IMAGE_KEYS = ("jpg", "jpeg", "png", "webp")  # timm's and jpeg, the first that is there
_INFO_FILES = ("_info.json", "info.json")
_SPLIT_WORDS = frozenset(("train", "training", "validation", "val", "valid", "dev", "eval", "test"))
_SHARD_HINT = "Make the shards again, uncompressed, with an image and a .cls file (the class as a number) a sample."


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Image i is `sizes[i]` bytes at `offsets[i]` of `shards[shard_of[i]]`; `members[i]` is its name there."""

    shards: tuple[str, ...]
    shard_of: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    members: PackedNames

    def name(self, index: int) -> str:
        return f"{self.shards[self.shard_of[index]]}:{self.members[index]}"

    def read(self, index: int) -> bytes:
        """The encoded image.

        Raises:
            OSError: the shard is gone or shorter than it was.
        """
        size = int(self.sizes[index])
        # Opened for every image: no handle that forked workers would share, that pickles, or that counts against
        # the limit of open files; next to decoding the image it costs nothing.
        with Path(self.shards[self.shard_of[index]]).open("rb") as shard:
            shard.seek(int(self.offsets[index]))
            data = shard.read(size)
        if len(data) != size:
            raise OSError(f"'{self.name(index)}' ends early")
        return data


def splits_in_info(folder: Path) -> list[str]:
    """The splits that the folder's `_info.json` lists; empty without such a file.

    Raises:
        FastViTError: the file cannot be read.
    """
    path = next((folder / name for name in _INFO_FILES if (folder / name).is_file()), None)
    if path is None:
        return []
    try:
        return list(json.loads(path.read_text(encoding="utf-8")).get("splits", {}))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FastViTError(
            f"'{path}' cannot be read ({error}).", "Repair it, or remove it to go by names."
        ) from error


def splits_by_name(folder: Path) -> dict[str, tuple[str, ...]]:
    """The shards of every split, sorted: `folder/SPLIT/*.tar`, or `*.tar` with the split as a word of the name."""
    found: dict[str, list[str]] = {}
    for path in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        below = path.parent != folder
        words = {path.parent.name} if below else set(re.split(r"[^a-z]+", path.stem.lower()))
        for split in words & _SPLIT_WORDS:
            found.setdefault(split, []).append(str(path))
    return {split: tuple(paths) for split, paths in sorted(found.items())}


def index_shards(
    shards: Sequence[str], label_key: str = "", lengths: Sequence[int] = ()
) -> tuple[ShardIndex, list[int]]:
    """Read the headers and the classes of all shards.

    Args:
        label_key: field of the samples' `.json` with the class, samples below 0 being left out; empty takes `.cls`.
        lengths: samples in each shard as `_info.json` has it, checked; empty where it is not known.

    Raises:
        FastViTError: a shard that cannot be read, is compressed or not as long as it should be, or a sample without
            image or class.
    """
    where: list[tuple[int, int, int]] = []
    members: list[str] = []
    labels: list[int] = []
    for number, shard in enumerate(shards):
        count = 0
        for image, label in _labelled(shard, label_key):
            count += 1
            if label_key and label < 0:
                continue
            where.append((number, image.offset_data, image.size))
            members.append(image.name)
            labels.append(label)
        if number < len(lengths) and count != lengths[number]:
            raise FastViTError(f"'{shard}' holds {count} samples and not {lengths[number]}.", "Download it again.")
    table = np.array(where, dtype=np.int64).reshape(-1, 3)
    columns = (table[:, 0].astype(np.int32), table[:, 1].copy(), table[:, 2].copy())
    return ShardIndex(tuple(shards), *columns, PackedNames.of(members)), labels


def _labelled(shard: str, label_key: str) -> Iterator[tuple[tarfile.TarInfo, int]]:
    try:
        with tarfile.open(shard, "r:") as tar:
            for key, sample in _samples(tar):
                image = next((sample[suffix] for suffix in _IMAGE_KEYS if suffix in sample), None)
                if image is None:
                    raise FastViTError(f"The sample '{key}' of '{shard}' has no image.", _SHARD_HINT)
                yield image, _label(tar, sample, label_key, f"The sample '{key}' of '{shard}'")
    except (OSError, tarfile.TarError) as error:
        raise FastViTError(f"'{shard}' cannot be read as a tar file ({error}).", _SHARD_HINT) from error


def _samples(tar: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Neighbours that differ in their suffix only are one sample, as webdataset has it."""
    current = ""
    sample: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        key, suffix = shard_name_parts(member.name)
        if not member.isreg() or key is None or re.match(r"__[^/]*__($|/)", member.name):
            continue
        if key != current and sample:
            yield current, sample
            sample = {}
        current = key
        sample[suffix.lower()] = member
    if sample:
        yield current, sample


def _label(tar: tarfile.TarFile, sample: dict[str, tarfile.TarInfo], label_key: str, name: str) -> int:
    member = sample.get("json" if label_key else "cls")
    content = tar.extractfile(member) if member else None
    if content is None:
        raise FastViTError(f"{name} has no .{'json' if label_key else 'cls'} file.", _SHARD_HINT)
    try:
        return int(_field(json.load(content), label_key) if label_key else content.read())
    except (ValueError, TypeError, KeyError) as error:
        raise FastViTError(f"{name} has no class that is a number ({error}).", _SHARD_HINT) from error


def _field(content: Any, key: str) -> Any:
    """As timm has it: a key, or keys within each other with / between them."""
    return content[key] if key in content else functools.reduce(operator.getitem, key.split("/"), content)
