"""The evaluation loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastvit_cli.data.loader import ImageLoader
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError
from fastvit_cli.evaluation.metrics import ScoreCounter, Scores
from fastvit_cli.runtimes.base import Runtime


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the speed of the whole loop, decoding included.

    Attributes:
        data_wait: share of the time, 0 to 1, spent waiting for images.
        unreadable: images that this loader could not read, in this evaluation or before.
    """

    scores: Scores
    images_per_second: float
    data_wait: float
    unreadable: tuple[Unreadable, ...]


def evaluate(
    runtime: Runtime,
    loader: ImageLoader,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
    world: World = ALONE,
) -> Evaluation:
    """Run every image of the loader through the runtime.

    Args:
        on_progress: called with (images done, images in all) after each batch; of several processes, an estimate.
        on_unreadable: called for an image that cannot be read, once.
        world: the processes that share the images, each with its own loader; the scores are those of all.

    Raises:
        FastViTError: no image, or too few of them, can be read.
    """
    counter = ScoreCounter()
    total = len(loader.images)
    started = time.perf_counter()
    done = 0
    for batch in loader.epoch():
        for bad in batch.unreadable:
            if on_unreadable is not None:
                on_unreadable(bad)
        if len(batch.labels):
            counter.add(runtime.logits(batch.images), batch.labels)
        done += len(batch.labels)
        if on_progress is not None:
            on_progress(min(done * world.size, total), total)
    counter.add_up(world)
    seconds = time.perf_counter() - started
    if counter.images == 0:
        raise FastViTError(f"Not one image of '{loader.images.where}' can be read.", "Pass --data with other images.")
    return Evaluation(
        counter.scores,
        images_per_second=counter.images / seconds,
        data_wait=loader.seconds_waited / seconds,
        unreadable=tuple(Unreadable(name, reason) for name, reason in loader.unreadable.items()),
    )
