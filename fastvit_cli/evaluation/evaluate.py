"""The evaluation loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastvit_cli.data.loader import ImageLoader
from fastvit_cli.evaluation.metrics import ScoreCounter, Scores
from fastvit_cli.runtimes.base import Runtime


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the speed of the whole loop, decoding included."""

    scores: Scores
    images_per_second: float


def evaluate(
    runtime: Runtime, loader: ImageLoader, on_progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Run every image of the loader through the runtime.

    Args:
        on_progress: called with (images done, images in all) after each batch.

    Raises:
        FastViTError: an image cannot be read.
    """
    counter = ScoreCounter()
    total = len(loader.folder)
    started = time.perf_counter()
    done = 0
    for batch in loader.epoch():
        counter.add(runtime.logits(batch.images), batch.labels)
        done += batch.labels.shape[0]
        if on_progress is not None:
            on_progress(done, total)
    return Evaluation(counter.scores, images_per_second=total / (time.perf_counter() - started))
