"""Batches of images. What a sample looks like is a function of (seed, epoch, sample) and of nothing else."""

import math
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fastvit_cli.data.data_options import MAX_BAD_IMAGES
from fastvit_cli.data.deep_images import added_up
from fastvit_cli.data.images import Images
from fastvit_cli.data.picture import Picture
from fastvit_cli.data.samples import BatchIndex, SampleReader, Samples, Unreadable, no_collate
from fastvit_cli.data.transforms import Transform, evaluation_transform
from fastvit_cli.data.workers import end_workers, prepare_worker
from fastvit_cli.devices import free_memory_mb
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.models.preprocessing import Preprocessing

EVALUATION_BATCH_SIZE = 64
_PREFETCHED = 2  # batches that each worker is ahead


@dataclass(frozen=True)
class Batch:
    """images: uint8 (B, 3, H, W) RGB, channels last in memory; labels: int64 (B,).

    `indices` are the places of the images in the split, also of those that training has replaced; `unreadable` are
    the images missing from it, or replaced in it, that were not named before.
    """

    images: Tensor
    labels: Tensor
    indices: tuple[int, ...]
    unreadable: tuple[Unreadable, ...] = ()


class Loader(Protocol):
    """Batches of one split, epoch by epoch; see `ImageLoader`."""

    images: Images
    options: "LoaderOptions"
    unreadable: dict[str, str]

    @property
    def seconds_waited(self) -> float: ...
    def epoch(self, epoch: int = 0, first_batch: int = 0) -> Iterator[Batch]: ...
    def share_unreadable(self, world: World) -> tuple[Unreadable, ...]: ...
    def all_deep(self, world: World) -> dict[str, int]: ...


class EpochBatches(Sampler[BatchIndex]):
    """The batches of one epoch for one of several processes.

    Training shuffles by (seed, epoch) and drops the last incomplete batch of all processes together; evaluation
    keeps the order and gives each image to exactly one process.
    """

    def __init__(
        self, size: int, batch_size: int, *, training: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_batch = 0
        self.in_order = False

    def __iter__(self) -> Iterator[BatchIndex]:
        order = np.arange(self.size) if self.in_order else self._order()
        for number in range(self.first_batch, -(-len(order) // self.batch_size)):
            samples = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield BatchIndex(number, self.epoch, tuple(samples.tolist()))

    def _order(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """The samples of this process."""
        if not self.training:
            # Whole batches, those that a single process would form: the same images together, the same scores.
            batch_of = np.arange(self.size) // self.batch_size
            return np.flatnonzero(batch_of % self.world_size == self.rank)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        # All processes together take the next world_size * batch_size images; this one its part of them.
        whole = order[: len(self) * self.world_size * self.batch_size]
        return whole.reshape(-1, self.world_size, self.batch_size)[:, self.rank].reshape(-1)

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        if self.training:
            return self.size // (self.batch_size * self.world_size)
        return len(range(self.rank, -(-self.size // self.batch_size), self.world_size))


@dataclass(frozen=True)
class LoaderOptions:
    """How images become batches.

    Attributes:
        img_size: side of what the transform gives, in pixels.
        batch_size: images a batch and process.
        workers: processes that decode; 0 decodes in this one.
        training: shuffle, seed the transform, drop the last incomplete batch, and replace unreadable images instead
            of leaving them out.
        max_bad_images: percent of the split that may be unreadable, to all processes together.
        exif: turn images upright.
        pin: give batches in pinned memory, from which copies to a CUDA device overlap with work.
        start_method: fork, spawn or forkserver; None for the platform's.
    """

    img_size: int
    batch_size: int
    workers: int
    training: bool = False
    seed: int = 0
    max_bad_images: float = MAX_BAD_IMAGES
    exif: bool = False
    pin: bool = False
    start_method: str | None = None


class ImageLoader:
    """Batches of one split, epoch by epoch.

    Workers write the images of a batch into one of a ring of buffers that all processes share: memory that is
    allocated anew for each batch costs a tenth of the time it takes to decode into it.

    Args:
        world: the processes that share the split.

    Attributes:
        unreadable: reasons by image, of all epochs so far; those of the other processes too once they were shared.
        deep: images of more than 8 bits that this process read in the current epoch, by what they were.
        seconds_waited: how long the current epoch has waited for batches.

    Raises:
        WorkFailedError: not enough shared memory.
    """

    def __init__(self, images: Images, transform: Transform, options: LoaderOptions, world: World = ALONE) -> None:
        self.images = images
        self.options = options
        self.unreadable: dict[str, str] = {}
        self.deep: Counter[str] = Counter()
        self.seconds_waited = 0.0
        workers, training = options.workers, options.training
        self._batches = EpochBatches(
            len(images),
            options.batch_size,
            training=training,
            seed=options.seed,
            rank=world.rank,
            world_size=world.size,
        )
        self._slots = (
            _shared_slots(min(options.batch_size, len(images)), options.img_size, workers) if workers else None
        )
        reader = SampleReader(
            images,
            transform,
            options.img_size,
            self._slots,
            seed=options.seed if training else None,
            replace=training,
            exif=options.exif,
        )
        self._loader: DataLoader[Samples] = DataLoader(
            reader,
            batch_sampler=self._batches,  # type: ignore[arg-type]  # declared for lists; whatever it gives is passed on
            num_workers=workers,
            prefetch_factor=_PREFETCHED if workers else None,
            collate_fn=no_collate,
            worker_init_fn=prepare_worker,
            persistent_workers=workers > 0,
            multiprocessing_context=options.start_method if workers else None,
            generator=torch.Generator(),  # torch would draw the workers' seeds from the global one
        )
        # Also where the program ends before: they outlive the one SIGTERM that Python's own end would send.
        weakref.finalize(self, end_workers, self._loader)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int = 0, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from `first_batch` on.

        Raises:
            FastViTError: more than `max_bad_images` cannot be read, or in training twenty that were tried for one.
        """
        self._batches.epoch, self._batches.first_batch, self._batches.in_order = epoch, first_batch, False
        yield from self._read()

    def in_order(self, epoch: int) -> Iterator[Batch]:
        """Every image once, in the order of the split, as the transform of that epoch draws it.

        Raises:
            FastViTError: as `epoch`.
        """
        self._batches.epoch, self._batches.first_batch, self._batches.in_order = epoch, 0, True
        yield from self._read()

    def _read(self) -> Iterator[Batch]:
        self.seconds_waited = 0.0
        self.deep.clear()
        waiting_since = time.perf_counter()
        for samples in self._loader:
            images = self._own_copy(samples)
            self.seconds_waited += time.perf_counter() - waiting_since
            new = self._first_seen(samples.unreadable)
            self.deep.update(samples.deep)
            if self.options.training and len(images) < samples.asked:
                raise _none_readable(samples.unreadable)
            if len(images) or new:
                labels = torch.tensor(samples.labels, dtype=torch.int64)
                labels = labels.pin_memory() if self.options.pin else labels
                yield Batch(images.permute(0, 3, 1, 2), labels, samples.indices, new)
            waiting_since = time.perf_counter()

    def _own_copy(self, samples: Samples) -> Tensor:
        """The images (B, H, W, 3) in memory that no worker will write to again."""
        if samples.images is not None:
            return samples.images.pin_memory() if self.options.pin else samples.images
        assert self._slots is not None
        shared = self._slots[samples.number % len(self._slots)][: len(samples.labels)]
        return shared.pin_memory() if self.options.pin else shared.clone()

    def share_unreadable(self, world: World) -> tuple[Unreadable, ...]:
        """Let all processes know what one of them could not read; those images that are new to this one.

        Raises:
            FastViTError: more than `max_bad_images` cannot be read by all processes together.
        """
        mine = (Unreadable(name, reason) for name, reason in self.unreadable.items())
        return self._first_seen(world.all_gather(mine))

    def all_deep(self, world: World) -> dict[str, int]:
        """What all processes have in `deep`, added up."""
        return added_up(world.all_gather(self.deep.items()))

    def _first_seen(self, unreadable: Iterable[Unreadable]) -> tuple[Unreadable, ...]:
        new = tuple({bad.name: bad for bad in unreadable if bad.name not in self.unreadable}.values())
        self.unreadable |= {bad.name: bad.reason for bad in new}
        allowed = self.options.max_bad_images / 100 * len(self.images)
        if len(self.unreadable) > allowed:
            name, reason = next(iter(self.unreadable.items()))
            raise FastViTError(
                f"{len(self.unreadable)} of {len(self.images):,} images cannot be read, more than "
                f"{self.options.max_bad_images:g} %; the first: '{name}' ({reason}).",
                "See them all with --check-data, then mend or remove them, or pass a larger --max-bad-images.",
            )
        return new


def _none_readable(unreadable: tuple[Unreadable, ...]) -> FastViTError:
    first = unreadable[0]
    return FastViTError(
        f"'{first.name}' cannot be read ({first.reason}), nor can any of those tried in its place.",
        "Check that the disk is still there; --check-data lists what cannot be read.",
    )


def _shared_slots(batch_size: int, img_size: int, workers: int) -> Tensor:
    """One buffer for each batch that workers may be at, and one for that which is just being copied.

    torch's DataLoader sends out `workers * _PREFETCHED` batches beyond the one it last returned, and not one more.
    """
    shape = (workers * _PREFETCHED + 1, batch_size, img_size, img_size, 3)
    free = free_memory_mb(torch.device("cpu"))
    try:
        if free is not None and math.prod(shape) / 2**20 > free:
            raise RuntimeError("it would be taken from what other programs hold")
        slots = torch.empty(shape, dtype=torch.uint8)
        slots.share_memory_()
    except RuntimeError as error:
        raise WorkFailedError(
            f"There is not enough shared memory for {workers} worker processes ({math.prod(shape) / 1e6:.0f} MB).",
            "Pass fewer --workers (0 needs none), a smaller --batch-size, or in Docker --shm-size 2g.",
        ) from error
    return slots


@dataclass(frozen=True)
class RealImages:
    """Some images of a data set.

    Attributes:
        pixels: raw uint8 (B, 3, H, W), as the evaluation sees them.
        labels: (B,) int64, which of the model's classes they are; None where nobody says.
    """

    pixels: Tensor
    labels: Tensor | None = None


def load_some_images(images: Images, preprocessing: Preprocessing, count: int) -> RealImages:
    """At most `count` images, spread evenly over the split; as they lie where `preprocessing` does not say.

    Raises:
        FastViTError: an image cannot be read.
    """
    transform = evaluation_transform(preprocessing)
    spread = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    pixels = []
    for index in spread.tolist():
        try:
            pixels.append(transform(Picture.open(images.read(index), exif=bool(preprocessing.exif))))
        except Exception as error:  # decoders raise many types on damaged files
            raise FastViTError(
                f"'{images.name(index)}' cannot be read as an image ({error}).", "Remove or replace the file."
            ) from error
    labels = torch.from_numpy(images.labels[spread]).long()
    return RealImages(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), labels)
