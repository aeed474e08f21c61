"""The evaluation loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.data.loader import Batch, ImageLoader
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.devices import is_out_of_memory
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.evaluation.metrics import ScoreCounter, Scores
from fastvit_cli.runtimes.base import Runtime


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the speed of the whole loop, decoding included.

    Attributes:
        data_wait: share of the time, 0 to 1, spent waiting for images.
        unreadable: images that a process could not read, in this evaluation or before, sorted by name.
        deep: images of more than 8 bits, by what they were.
    """

    scores: Scores
    images_per_second: float
    data_wait: float
    unreadable: tuple[Unreadable, ...]
    deep: dict[str, int]


def evaluate(
    runtime: Runtime,
    loader: ImageLoader,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
    on_batch: Callable[[Batch, Tensor], None] | None = None,
    on_smaller_batch: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Evaluation:
    """Run every image of the loader through the runtime; a batch that the device has no memory for in halves.

    Args:
        on_progress: called with (images done, images in all) after each batch; of several processes, an estimate.
        on_unreadable: called for an image that cannot be read, once.
        on_batch: called with each batch and its logits (B, classes).
        on_smaller_batch: called with the images at once that are tried from now on.
        world: the processes that share the images, each with its own loader; the scores are those of all.

    Raises:
        FastViTError: no image, or too few of them, can be read.
        WorkFailedError: there is no memory for a single image.
    """
    forward = SplitWhenOutOfMemory(runtime, on_smaller_batch)
    counter = ScoreCounter()
    total = len(loader.images)
    started = time.perf_counter()
    done = 0

    def tell(unreadable: tuple[Unreadable, ...]) -> None:
        for bad in unreadable:
            if on_unreadable is not None:
                on_unreadable(bad)

    for batch in loader.epoch():
        tell(batch.unreadable)
        if len(batch.labels):
            logits = forward(batch.images)
            counter.add(logits, batch.labels)
            if on_batch is not None:
                on_batch(batch, logits)
        done += len(batch.labels)
        if on_progress is not None:
            on_progress(min(done * world.size, total), total)
    counter.add_up(world)
    seconds = time.perf_counter() - started
    tell(loader.share_unreadable(world))
    if counter.images == 0:
        raise FastViTError(f"Not one image of '{loader.images.where}' can be read.", "Pass --data with other images.")
    return Evaluation(
        counter.scores,
        images_per_second=counter.images / seconds,
        data_wait=loader.seconds_waited / seconds,
        # In what order they were met depends on the number of processes.
        unreadable=tuple(Unreadable(name, reason) for name, reason in sorted(loader.unreadable.items())),
        deep=loader.all_deep(world),
    )


class SplitWhenOutOfMemory:
    """Logits in as many parts as the device has memory for, found by halving."""

    def __init__(self, runtime: Runtime, on_smaller_batch: Callable[[int], None] | None = None) -> None:
        self._runtime = runtime
        self._on_smaller_batch = on_smaller_batch
        self._at_once: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        while True:
            parts = images.split(self._at_once or len(images))
            try:
                return torch.cat([self._runtime.logits(part) for part in parts])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                tried = min(self._at_once or len(images), len(images))
                if tried == 1:
                    raise WorkFailedError(
                        "The device has no memory for a single image.", "Pass --device cpu, or a smaller --img-size."
                    ) from error
                self._at_once = tried // 2
                if self._on_smaller_batch is not None:
                    self._on_smaller_batch(self._at_once)
