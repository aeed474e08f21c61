"""Batches of images. What a sample looks like is a function of (seed, epoch, sample) and of nothing else."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fastvit_cli.data.randomness import sample_randomness
from fastvit_cli.data.sources import ImageFolder
from fastvit_cli.data.transforms import Transform, evaluation_transform, read_image
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing

EVALUATION_BATCH_SIZE = 64


@dataclass(frozen=True)
class Batch:
    """images: uint8 (B, 3, H, W) RGB; labels: int64 (B,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class _Sample:
    image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None"
    label: int
    problem: str = ""


class _Samples(Dataset[_Sample]):
    """Indexed by (epoch, sample): a worker that lives on learns the epoch from the index."""

    def __init__(self, folder: ImageFolder, transform: Transform, seed: int) -> None:
        self.folder = folder
        self.transform = transform
        self.seed = seed

    def __getitem__(self, index: tuple[int, int]) -> _Sample:
        epoch, sample = index
        path, label = self.folder.paths[sample], self.folder.labels[sample]
        try:
            image = read_image(path)
        except Exception as error:  # decoders raise many types on damaged files
            return _Sample(None, label, f"'{path}' cannot be read as an image ({error})")
        with sample_randomness(self.seed, epoch, sample):
            return _Sample(self.transform(image), label)


class EpochOrder(Sampler[tuple[int, int]]):
    """The order of one epoch: shuffled by (seed, epoch) for training, as listed for evaluation."""

    def __init__(self, size: int, shuffle: bool, seed: int) -> None:
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.size)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        return ((self.epoch, int(sample)) for sample in order)

    def __len__(self) -> int:
        return self.size


class ImageLoader:
    """Batches of one split, epoch by epoch.

    Args:
        batch_size: images a batch; training drops the last incomplete one, evaluation keeps it.
        workers: processes that decode; 0 decodes in this one.
        training: shuffle and drop the last incomplete batch.
    """

    def __init__(
        self,
        folder: ImageFolder,
        transform: Transform,
        batch_size: int,
        workers: int,
        *,
        training: bool,
        seed: int = 0,
    ) -> None:
        self.folder = folder
        self._order = EpochOrder(len(folder), shuffle=training, seed=seed)
        self._loader = DataLoader(
            _Samples(folder, transform, seed),
            batch_size=batch_size,
            sampler=self._order,
            num_workers=workers,
            drop_last=training,
            collate_fn=_collate,
            worker_init_fn=_prepare_worker,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # torch would draw the workers' seeds from the global one
        )

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch.

        Raises:
            FastViTError: an image cannot be read.
        """
        self._order.epoch = epoch
        for images, labels, problems in self._loader:
            if problems:
                raise FastViTError(f"{problems[0]}.", "Remove or replace the file.")
            yield Batch(images, labels)


def load_some_images(folder: ImageFolder, preprocessing: Preprocessing, count: int) -> Tensor:
    """Images spread evenly over the folder, as the evaluation sees them: uint8 (at most count, 3, H, W).

    Raises:
        FastViTError: an image cannot be read.
    """
    spread = np.unique(np.linspace(0, len(folder) - 1, min(count, len(folder))).round().astype(int))
    chosen = ImageFolder(
        folder.root,
        folder.class_names,
        tuple(folder.paths[index] for index in spread),
        tuple(folder.labels[index] for index in spread),
    )
    loader = ImageLoader(chosen, evaluation_transform(preprocessing), len(chosen), workers=0, training=False)
    return next(loader.epoch()).images


def _collate(samples: list[_Sample]) -> tuple[Tensor, Tensor, list[str]]:
    problems = [sample.problem for sample in samples if sample.problem]
    images = [sample.image for sample in samples if sample.image is not None]
    # np.stack keeps the channels-last strides that decoding leaves, and training on such a batch crashes torch
    # on AVX-512 CPUs: ascontiguousarray is not for speed.
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images))) if images else torch.empty(0)
    return stacked, torch.tensor([sample.label for sample in samples]), problems


def _prepare_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group; only the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def resolve_workers(workers: int | None) -> int:
    """`--workers`, or one fewer than the cores this process may use, at most 8."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores - 1))
