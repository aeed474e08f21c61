"""What a worker process does: read, decode and transform the images of one batch."""

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from fastvit_cli.data.decoding import Pixels
from fastvit_cli.data.images import Images
from fastvit_cli.data.picture import Picture, UnreadableImageError, reason_of
from fastvit_cli.data.randomness import kept_randomness, seed_sample
from fastvit_cli.data.transforms import Transform
from fastvit_cli.names import printable

_REPLACEMENTS = 20  # images to try in the place of an unreadable one


@dataclass(frozen=True)
class BatchIndex:
    """Which images make a batch. Carries the epoch, so that a worker that lives on learns of it."""

    number: int
    epoch: int
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and what the decoder said."""

    name: str
    reason: str


@dataclass(frozen=True)
class Samples:
    """One batch as it comes from a worker.

    Attributes:
        number: of the batch; its images lie in the slot of that number.
        asked: how many images it should have.
        images: uint8 (B, H, W, 3) where there are no slots.
        labels: of the images there are.
        indices: of the same images, as asked for; training may have put another one in a place.
        unreadable: images that are missing from the batch, or replaced in it.
        deep: what those of more than 8 bits were, one entry an image; not of images that replace others.
    """

    number: int
    asked: int
    images: Tensor | None
    labels: tuple[int, ...]
    indices: tuple[int, ...]
    unreadable: tuple[Unreadable, ...]
    deep: tuple[str, ...] = ()


class _Readable(NamedTuple):
    """A transformed image."""

    pixels: Pixels
    label: int
    deep: str | None


class SampleReader(Dataset[Samples]):
    """Reads whole batches, which `__getitems__` allows.

    Args:
        img_size: side of what the transform gives.
        slots: shared uint8 (S, B, img_size, img_size, 3); batch n is written to slot n % S. None to allocate anew.
        seed: of what the transform draws; None for a transform that draws nothing.
        replace: put another image in the place of an unreadable one, for training; else leave it out.
        exif: turn images upright.
    """

    def __init__(
        self,
        images: Images,
        transform: Transform,
        img_size: int,
        slots: Tensor | None,
        *,
        seed: int | None,
        replace: bool,
        exif: bool,
    ) -> None:
        self.images = images
        self.transform = transform
        self.img_size = img_size
        self.slots = slots
        self.seed = seed
        self.replace = replace
        self.exif = exif

    def __getitems__(self, index: BatchIndex) -> Samples:
        """Read one batch."""
        shape = (len(index.samples), self.img_size, self.img_size, 3)
        if self.slots is None:
            pixels = torch.empty(shape, dtype=torch.uint8)
        else:
            pixels = self.slots[index.number % len(self.slots)]
        labels: list[int] = []
        indices: list[int] = []
        unreadable: list[Unreadable] = []
        deep: list[str] = []
        # A worker's generators serve nothing else.
        with contextlib.nullcontext() if get_worker_info() else kept_randomness():
            for sample in index.samples:
                readable = self._readable(index.epoch, sample, unreadable)
                if readable is not None:
                    pixels[len(labels)] = torch.from_numpy(readable.pixels)
                    labels.append(readable.label)
                    indices.append(sample)
                    deep += [readable.deep] if readable.deep else []
        own = None if self.slots is not None else pixels[: len(labels)]
        return Samples(
            index.number, len(index.samples), own, tuple(labels), tuple(indices), tuple(unreadable), tuple(deep)
        )

    def _readable(self, epoch: int, sample: int, unreadable: list[Unreadable]) -> _Readable | None:
        """The transformed image and its label, or those of the image in its place; notes what cannot be read."""
        # From all over the split: damaged files lie side by side.
        stride = len(self.images) // (_REPLACEMENTS + 1) + 1
        for step in range(1 + (_REPLACEMENTS if self.replace else 0)):
            index = (sample + step * stride) % len(self.images)
            if self.seed is not None:
                seed_sample(self.seed, epoch, sample)
            try:
                picture = self._picture(index)
                deep = None if step else picture.deep  # those of the image itself are counted in its own place
                return _Readable(self.transform(picture), int(self.images.labels[index]), deep)
            except UnreadableImageError as error:
                unreadable.append(Unreadable(printable_name(self.images, index), str(error)))
        return None

    def _picture(self, index: int) -> Picture:
        try:
            return Picture.open(self.images.read(index), exif=self.exif)
        except Exception as error:  # data sets and decoders raise many types
            raise UnreadableImageError(reason_of(error)) from error


def no_collate(samples: Any) -> Any:
    """Collates nothing: `SampleReader` gives whole batches already."""
    return samples


def printable_name(images: Images, index: int) -> str:
    """What to call an image that may not be readable."""
    try:
        name = images.name(index)
    except Exception:  # what makes an image unreadable may make it nameless
        return f"{images.where}[{index}]"
    return printable(name)
