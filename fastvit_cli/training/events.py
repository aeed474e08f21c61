"""What a training run reports while it works."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunStarted:
    run_dir: Path
    variant: str
    parameters: int
    classes: int
    train_images: int
    val_images: int
    epochs: int
    history: tuple["EpochDone", ...]
    resumed_step: int
    steps_per_epoch: int
    batch_size: int
    accumulation: int
    processes: int
    img_size: int
    workers: int
    device: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImagesListed:
    """While a split's class folders are listed for the first time."""

    classes: int
    total: int


@dataclass(frozen=True)
class BatchHalved:
    """The device was out of memory: the run starts again with smaller batches, more of them an update."""

    batch_size: int
    accumulation: int


@dataclass(frozen=True)
class BatchSizeTried:
    """`--batch-size auto` is looking for the largest one."""

    batch_size: int
    fits: bool


@dataclass(frozen=True)
class BatchSizeFound:
    """What `--batch-size auto` means in this run; `of_memory` when a larger one did not fit."""

    batch_size: int
    accumulation: int
    of_memory: bool


@dataclass(frozen=True)
class TimeEstimated:
    """Once, as soon as the speed is known: seconds the whole run will take."""

    seconds: float


@dataclass(frozen=True)
class StepDone:
    """Running means of the epoch; `top1` in percent of the (augmented) training images.

    Attributes:
        data_wait: share of the epoch's time so far, 0 to 1, spent waiting for images.
        memory_mb: peak memory in MiB, of the GPU or of this process; None where the system does not tell.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    top1: float
    lr: float
    images_per_second: float
    data_wait: float
    memory_mb: float | None
    seconds_left: float


@dataclass(frozen=True)
class ValidationProgress:
    done: int
    total: int


@dataclass(frozen=True)
class FeaturesProgress:
    """Images of a split that have been through a frozen backbone, for one of the views of each.

    Attributes:
        view: from 1.
    """

    split: str
    done: int
    total: int
    view: int
    views: int


@dataclass(frozen=True)
class ImageUnreadable:
    """Once for each image, and what the decoder said."""

    name: str
    reason: str


@dataclass(frozen=True)
class DeepImagesRead:
    """Once, after a whole epoch: the images of more than 8 bits in it and its validation, by what they were."""

    epoch: int
    counts: dict[str, int]


@dataclass(frozen=True)
class UpdateSkipped:
    """An update that was left out because its loss was not finite."""

    epoch: int
    step: int


@dataclass(frozen=True)
class EpochDone:
    """One line of metrics.csv; epochs count from 1, accuracies are in percent, times in seconds.

    Attributes:
        images_per_second: of the training since the epoch was begun or resumed; 0 where only the scores were left.
        data_wait: share of the training time, 0 to 1, spent waiting for images.
        memory_mb: peak memory so far in MiB, of the GPU or of this process; None where the system does not tell.
        unreadable: images that could not be read, since the run was started or resumed.
        is_best: it was when it ended; the last such row is what best.safetensors holds.
    """

    epoch: int
    epochs: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    val_top5: float
    images_per_second: float
    seconds: float
    data_wait: float
    memory_mb: float | None
    unreadable: int
    is_best: bool


def best_of(history: Sequence[EpochDone]) -> EpochDone | None:
    """The epoch whose weights best.safetensors holds; None before the first with finite scores."""
    return next((row for row in reversed(history) if row.is_best), None)


TrainEvent = (
    ImagesListed
    | BatchHalved
    | BatchSizeTried
    | BatchSizeFound
    | RunStarted
    | TimeEstimated
    | StepDone
    | ValidationProgress
    | FeaturesProgress
    | ImageUnreadable
    | DeepImagesRead
    | UpdateSkipped
    | EpochDone
)
