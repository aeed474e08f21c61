"""Scoring one opened model on one split of a data set."""

from collections.abc import Callable
from dataclasses import dataclass

from fastvit_cli.data.loader import ImageLoader, resolve_workers, worker_death_explained
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.data.sources import DataChoice, open_images, with_model_classes
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.evaluation.config import ValidateConfig
from fastvit_cli.evaluation.evaluate import evaluate
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import Runtime


@dataclass(frozen=True)
class ValidateResult:
    """Scores in percent (loss in nats) of one model on one split.

    Attributes:
        model: file or published name.
        device: where it really ran.
        data_wait: share of the time, 0 to 1, spent waiting for images.
        unreadable: images left out of the scores.
        published_top1: ImageNet-1k top-1 that was published for these weights; None for others.
    """

    model: str
    variant: str
    fused: bool
    engine: str
    device: str
    data: str
    split: str
    img_size: int
    preprocessing: Preprocessing
    num_images: int
    top1: float
    top5: float
    loss: float
    images_per_second: float
    data_wait: float
    unreadable: tuple[Unreadable, ...]
    published_top1: float | None


def validate(
    config: ValidateConfig,
    runtime: Runtime,
    data: DataChoice,
    model: str,
    published_top1: float | None,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
) -> ValidateResult:
    """Score every image of the split, preprocessed as the model's file says.

    Args:
        on_progress: called with (class folders listed, their number), then with (images done, images in all).
        on_unreadable: called for an image that cannot be read, once.

    Raises:
        FastViTError: no such split, classes the model does not know, too many unreadable images.
        WorkFailedError: a process that reads images was killed.
    """
    info = runtime.info
    images = with_model_classes(
        open_images(data, config.split, config.class_map, on_progress),
        info.num_classes,
        info.class_names,
        mapped=config.class_map is not None,
    )
    preprocessing = info.preprocessing.at_size(config.img_size)
    loader = ImageLoader(
        images,
        evaluation_transform(preprocessing, config.transforms),
        preprocessing.img_size,
        config.batch_size,
        resolve_workers(config.workers),
        training=False,
        max_bad_images=config.max_bad_images,
        exif=config.exif,
    )
    with worker_death_explained(loader.workers):
        evaluation = evaluate(runtime, loader, on_progress, on_unreadable)
    scores = evaluation.scores
    return ValidateResult(
        model=model,
        variant=info.variant,
        fused=info.fused,
        engine=runtime.engine,
        device=runtime.device_name,
        data=data.name,
        split=config.split,
        img_size=preprocessing.img_size,
        preprocessing=preprocessing,
        num_images=scores.num_images,
        top1=scores.top1,
        top5=scores.top5,
        loss=scores.loss,
        images_per_second=evaluation.images_per_second,
        data_wait=evaluation.data_wait,
        unreadable=evaluation.unreadable,
        published_top1=published_top1,
    )
