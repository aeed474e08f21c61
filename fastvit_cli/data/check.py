"""`--check-data`: every image read once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastvit_cli.data.data_options import DataConfig
from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.deep_images import added_up, deep_words
from fastvit_cli.data.images import Images
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.data.picture import Picture
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.data.workers import resolve_workers, worker_death_explained

_BATCH_SIZE = 32


@dataclass(frozen=True)
class CheckedSplit:
    """What was found in one split.

    Attributes:
        deep: images of more than 8 bits, by what they were.
        passed_over: other files, by `passed_over.kind_of`.
    """

    where: str
    classes: int
    images: int
    smallest_class: int
    largest_class: int
    unreadable: tuple[Unreadable, ...]
    deep: dict[str, int]
    passed_over: dict[str, int]


@dataclass(frozen=True)
class DataCheck:
    """Result of `--check-data`.

    Attributes:
        notes: what else is to be said of the splits.
        passed: every image can be read.
    """

    data: str
    splits: tuple[CheckedSplit, ...]
    notes: tuple[str, ...]
    passed: bool


def data_check(data: str, splits: Sequence[CheckedSplit], notes: Sequence[str] = ()) -> DataCheck:
    """All of it together, with what is to be said of the splits beside these notes."""
    passed_over = passed_over_words(*(split.passed_over for split in splits))
    deep = added_up(kind for split in splits for kind in split.deep.items())
    said = (*notes, *((f"{deep_words(deep)}.",) if deep else ()), *((passed_over,) if passed_over else ()))
    return DataCheck(data, tuple(splits), said, passed=not any(split.unreadable for split in splits))


def check_split(
    images: Images, config: DataConfig, on_progress: Callable[[int, int], None] | None = None
) -> CheckedSplit:
    """Decode every image of a split.

    Args:
        on_progress: called with (images done, images in all).

    Raises:
        WorkFailedError: a process that reads images was killed.
    """
    workers = resolve_workers(config.workers)
    options = LoaderOptions(1, _BATCH_SIZE, workers, max_bad_images=100.0, exif=bool(config.exif))
    loader = ImageLoader(images, _one_pixel, options)
    with worker_death_explained(workers):
        for done, _ in enumerate(loader.epoch(), start=1):
            if on_progress is not None:
                on_progress(min(done * _BATCH_SIZE, len(images)), len(images))
    counts = [count for count in np.bincount(images.labels).tolist() if count]
    return CheckedSplit(
        where=images.where,
        classes=len(counts),
        images=len(images),
        smallest_class=min(counts),
        largest_class=max(counts),
        unreadable=tuple(Unreadable(name, reason) for name, reason in loader.unreadable.items()),
        deep=added_up(loader.deep.items()),
        passed_over=dict(images.passed_over),
    )


def _one_pixel(picture: Picture) -> Pixels:
    return picture.pixels()[:1, :1]
