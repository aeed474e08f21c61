"""How many images at once: found for `--batch-size auto`, halved when the first steps run out of memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data.loader import Batch
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.devices import free_memory_mb, is_out_of_memory, release_memory
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.options import AUTO_NUMBER
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.events import BatchSizeFound, BatchSizeTried, TrainEvent
from fastvit_cli.training.memory_estimate import estimated_memory
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, StepPosition, TrainStep
from fastvit_cli.training.trainer import Trainer

_FIRST_STEPS = 5  # in which a batch that is too large shows
_SMALLEST_BATCH = 2  # BatchNorm has no statistics of one image
_SMALLEST = 8  # to begin with, where nothing else is asked for
_LARGEST_ON_GPU, _LARGEST_ON_CPU = 1024, 64  # beyond these nothing becomes faster
_UPDATES_AN_EPOCH = 10  # at least, where no --total-batch-size says how many images an update has
_SHARE_OF_MEMORY = 0.7  # of what is free, counted on shapes: work space comes on top


def find_batch_size(
    config: TrainConfig,
    data: DataChoice,
    loaded: LoadedModel | None,
    on_event: Callable[[TrainEvent], None],
    world: World = ALONE,
) -> TrainConfig:
    """The configuration with a number instead of `auto`; as it is where it has one.

    The updates are made on random pixels and a network of their own, which is thrown away. `--total-batch-size` is
    kept: the batch is one of its divisors. Of several processes each tries by itself; what fits all is taken.

    Raises:
        FastViTError: whatever would end the run before its first step.
        WorkFailedError: not even the smallest batch fits.
    """
    if config.batch_size != AUTO_NUMBER:
        return config
    found, sizes = _search(config, data, loaded, on_event, world)
    config = replace(config, batch_size=found)
    if world.size > 1:  # the run's config.yaml must mean the same for any number of processes
        config = replace(config, total_batch_size=config.effective_batch_size)
    on_event(BatchSizeFound(found, config.accumulation, of_memory=found != sizes[-1]))
    return config


def _search(
    config: TrainConfig,
    data: DataChoice,
    loaded: LoadedModel | None,
    on_event: Callable[[TrainEvent], None],
    world: World,
) -> tuple[int, list[int]]:
    """The size, and those it was chosen from. A separate function, so that what it built is freed on return."""
    # Without compiling, which would take minutes for every size and needs no more memory; and without BatchNorm over
    # all processes, which would wait for those that try another size.
    smallest = replace(config, batch_size=2, total_batch_size=None, compile=False, sync_bn=False, world_size=1)
    trainer = build_trainer(smallest, data, loaded, on_event, replace(world, rank=0, size=1))
    train_step, device = trainer.train_step, trainer.device
    sizes = candidate_sizes(config, len(trainer.train_loader.images), on_gpu=device.type != "cpu")
    # CUDA says when it has no more; elsewhere the system would swap, or end this process.
    free = None if device.type == "cuda" else free_memory_mb(device)

    def fits(size: int) -> bool:
        if free is not None:
            needed = estimated_memory(replace(smallest, batch_size=size), train_step.network)
            if (needed.weights + needed.activations) / 2**20 > _SHARE_OF_MEMORY * free:
                return False
        try:
            _two_updates(train_step, size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            release_memory(device)
        return True

    def tried(size: int) -> bool:
        outcome = fits(size)
        on_event(BatchSizeTried(size, outcome))
        return outcome

    found = largest_that_fits(sizes, tried)
    if found is None:
        raise WorkFailedError(
            f"Not even {sizes[0]} images at once fit into the memory of {device}.",
            "Pass a smaller --img-size or --variant, or end what else is running there.",
        )
    return -world.all_reduce_max(-found), sizes  # the smallest over all processes


def candidate_sizes(config: TrainConfig, images: int, *, on_gpu: bool) -> list[int]:
    """Batch sizes to choose from, ascending; even ones where images are mixed in pairs.

    Args:
        images: in the training split.

    Raises:
        FastViTError: the images an update have no such divisor.
    """
    largest = min(_LARGEST_ON_GPU if on_gpu else _LARGEST_ON_CPU, images)
    step = 2 if config.mixup or config.cutmix else 1
    if config.total_batch_size is not None:
        total, processes = config.total_batch_size, config.world_size
        sizes = [size for size in range(2, largest + 1) if total % (size * processes) == 0 and size % step == 0]
        if not sizes:
            parted = f" in {processes} processes" if processes > 1 else ""
            raise FastViTError(
                f"--total-batch-size {total}{parted} cannot be parted into batches of 2 to {largest} images"
                f"{', two of them mixed at a time' if step == 2 else ''}.",
                "Pass another one, such as 64, or a --batch-size.",
            )
        return sizes
    largest = max(2, min(largest, images // (_UPDATES_AN_EPOCH * config.world_size)))
    doubled = [_SMALLEST << power for power in range(10)]
    between = [size + size // 2 for size in doubled]
    return sorted(size for size in (2, 4, *doubled, *between) if size <= largest)


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Double until one does not fit, then back off by the sizes between.

    Args:
        sizes: ascending.

    Returns:
        The largest one found; None when the first does not fit.
    """
    best: int | None = None
    for size in sizes:
        last = size == sizes[-1]
        if best is not None and size < 2 * best and not last:
            continue
        if fits(size):
            best = size
            continue
        between = [other for other in sizes if (best or 0) < other < size]
        return next((other for other in reversed(between) if fits(other)), best)
    return best


def _two_updates(train_step: TrainStep, size: int) -> None:
    """The second one has all that the optimizer keeps beside it."""
    info = train_step.info
    side = info.preprocessing.img_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, info.num_classes, (size,), generator=generator)
    for number in range(2):
        batches = [Batch(images, labels, indices=())]
        train_step.update(batches, Rates(1e-6, None), StepPosition(0, number, number))


def with_half_the_batch(trainer: Trainer, error: RuntimeError | MemoryError) -> TrainConfig:
    """Half the batch, accumulated twice as often: an update sees the same number of images.

    Raises:
        WorkFailedError: the run was under way already, or the batch cannot be halved.
    """
    config = trainer.config
    half = config.batch_size // 2
    pairs = 2 if config.mixup or config.cutmix else 1
    under_way = trainer.epoch > 0 or trainer.step >= _FIRST_STEPS
    # Of several processes the others wait in the middle of their step, and cannot start again.
    if under_way or trainer.world.size > 1 or config.batch_size % (2 * pairs) or half < _SMALLEST_BATCH:
        raise WorkFailedError(
            f"The device is out of memory with {config.batch_size} images at once.",
            "Pass a smaller --batch-size; --total-batch-size keeps the images an update. Or end what else is on it.",
        ) from error
    return replace(config, batch_size=half, total_batch_size=config.total_batch_size or config.batch_size)
