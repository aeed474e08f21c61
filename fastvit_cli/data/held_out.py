"""Class folders without a val split: which of their images are held out for validation."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames

_Indices = np.ndarray[Any, np.dtype[np.int64]]
_READ = 1 << 16  # bytes of each file that tell it from others, with its size


def held_out_part(images: ImageFolder, share: float, split: str) -> ImageFolder:
    """The images of `split`, train or val, when `share` of each class is held out.

    What is held out follows from the content of the files: it is the same under other names and on other machines,
    copies of an image stay together, and images that are added later move few others. A class of one image keeps it.
    """
    digests = np.array(_digests(str(images.root), images.files.text.tobytes(), images.files.ends.tobytes()))
    labels = np.asarray(images.labels)
    held = np.zeros(len(images), dtype=bool)
    for label in range(len(images.class_names)):
        members = np.flatnonzero(labels == label)
        held[_first(members[np.argsort(digests[members], kind="stable")], digests, share)] = True
    chosen = np.flatnonzero(held == (split == "val"))
    names = PackedNames.of(images.files[index] for index in chosen.tolist())
    passed_over = {} if split == "val" else images.passed_over  # counted once
    return replace(images, files=names, labels=labels[chosen], passed_over=passed_over)


def _first(members: _Indices, digests: "np.ndarray[Any, np.dtype[np.str_]]", share: float) -> _Indices:
    """About `share` of a class's images, ordered by their digests: at least one, never all, copies undivided."""
    count = min(max(1, round(share * len(members))), len(members) - 1)
    while 0 < count < len(members) and digests[members[count]] == digests[members[count - 1]]:
        count += 1
    return members[: count if 0 < count < len(members) else 0]


@lru_cache(maxsize=2)  # both splits, and what counts the images before, ask for the same
def _digests(root: str, text: bytes, ends: bytes) -> tuple[str, ...]:
    names = PackedNames(np.frombuffer(text, np.uint8), np.frombuffer(ends, np.int64))

    def digest(name: str) -> str:
        try:
            with (Path(root) / name).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                return hashlib.blake2b(file.read(_READ) + size.to_bytes(8), digest_size=16).hexdigest()
        except OSError:  # what cannot be read is said when it is to be decoded
            return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    with ThreadPoolExecutor(8) as pool:
        return tuple(pool.map(digest, names))
