"""What is noted of every image of a split, each decoded once, in worker processes."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from fastvit_cli.data.decoding import UPRIGHT, decode_reduced, orientation, upright
from fastvit_cli.data.deep_images import added_up
from fastvit_cli.data.images import Images
from fastvit_cli.data.perceptual_hash import WORDS, is_one_color, perceptual_hash, reduced
from fastvit_cli.data.picture import reason_of
from fastvit_cli.data.samples import Unreadable, no_collate, printable_name
from fastvit_cli.data.workers import end_workers, prepare_worker, worker_death_explained

if TYPE_CHECKING:
    from PIL.Image import Image

_AT_ONCE = 32
_DECODED_SIDE = 256  # JPEGs are decoded to no more than they need, which is up to seven times as fast

FACTS = np.dtype(
    [
        ("readable", np.bool_),
        ("content", np.uint64),  # a hash of the file's bytes
        ("look", np.uint64, (WORDS,)),  # `perceptual_hash` of the image, upright
        ("one_color", np.bool_),
        ("height", np.int32),
        ("width", np.int32),
        ("orientation", np.uint8),  # of EXIF
    ]
)
Facts = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class SplitFacts:
    """What was noted of a split.

    Attributes:
        facts: (N,) of `FACTS`, 59 bytes an image; zeros where it cannot be read.
        deep: images of more than 8 bits, by what they were.
    """

    facts: Facts
    unreadable: tuple[Unreadable, ...]
    deep: dict[str, int]


class _Noted(NamedTuple):
    first: int
    facts: Facts
    unreadable: tuple[Unreadable, ...]
    deep: tuple[str, ...]


def note_facts(images: Images, workers: int, on_progress: Callable[[int, int], None] | None = None) -> SplitFacts:
    """Look at every image of a split.

    Args:
        workers: processes that decode; 0 decodes in this one.
        on_progress: called with (images done, images in all).

    Raises:
        WorkFailedError: a process that reads images was killed.
    """
    loader: DataLoader[_Noted] = DataLoader(
        _Looking(images),
        batch_size=None,
        sampler=_Ranges(len(images)),
        num_workers=workers,
        collate_fn=no_collate,
        worker_init_fn=prepare_worker,
    )
    facts = np.zeros(len(images), FACTS)
    unreadable: list[Unreadable] = []
    deep: Counter[str] = Counter()
    try:
        with worker_death_explained(workers):
            for noted in loader:
                end = noted.first + len(noted.facts)
                facts[noted.first : end] = noted.facts
                unreadable += noted.unreadable
                deep.update(noted.deep)
                if on_progress is not None:
                    on_progress(end, len(images))
    finally:
        end_workers(loader)
    return SplitFacts(facts, tuple(unreadable), added_up(deep.items()))


class _Ranges(Sampler[range]):
    """All images in their order, some at once."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __iter__(self) -> Iterator[range]:
        return (range(first, min(first + _AT_ONCE, self._size)) for first in range(0, self._size, _AT_ONCE))

    def __len__(self) -> int:
        return -(-self._size // _AT_ONCE)


class _Looking(Dataset[_Noted]):
    def __init__(self, images: Images) -> None:
        self._images = images

    def __getitem__(self, some: range) -> _Noted:
        facts = np.zeros(len(some), FACTS)
        unreadable: list[Unreadable] = []
        deep: list[str] = []
        for place, index in enumerate(some):
            try:
                facts[place], of_many_bits = _facts_of(self._images.read(index))
                deep += [of_many_bits] if of_many_bits else []
            except Exception as error:  # data sets and decoders raise many types
                unreadable.append(Unreadable(printable_name(self._images, index), reason_of(error)))
        return _Noted(some.start, facts, tuple(unreadable), tuple(deep))


def _facts_of(encoded: "bytes | Image") -> tuple[tuple[Any, ...], str | None]:
    """A row of `FACTS`, and what the image was where it had more than 8 bits."""
    image = decode_reduced(encoded, _DECODED_SIDE)
    lies = orientation(encoded) if isinstance(encoded, bytes) else UPRIGHT
    content = encoded if isinstance(encoded, bytes) else image.pixels.tobytes()
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    small = upright(reduced(image.pixels), lies)
    row = (True, digest, perceptual_hash(small), is_one_color(small), image.height, image.width, lies)
    return row, image.deep
