"""`--dry-run`: all that a run would be, without training or writing anything."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data import turbojpeg
from fastvit_cli.data.data_options import FAST
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.data.workers import worker_death_explained
from fastvit_cli.devices import describe_device
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.cost import Cost, network_cost
from fastvit_cli.options import AUTO_NUMBER
from fastvit_cli.training.batch_size import find_batch_size
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.events import TrainEvent
from fastvit_cli.training.memory_estimate import Memory, estimated_memory
from fastvit_cli.training.resolve_options import recipe_of
from fastvit_cli.training.teacher import open_teacher
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.trainer import Trainer

_SHOWN_RATES = 10


@dataclass(frozen=True)
class DryRun:
    """Result of `--dry-run`.

    Attributes:
        options: the resolved configuration.
        sources: where each of them has its value from: `option`, `file NAME`, `recipe NAME`, `default` …
        trained_parameters: those that are not frozen.
        rates: (epoch, learning rate) at ten points of the run.
        batch_seconds: reading the first batch, starting the workers included.
        partial_decoding: only what a crop shows of a JPEG is decoded.
        notes: what its user should know before it begins.
        teacher_problem: why the teacher cannot be asked, such as no network here; None when it can, or there is none.
    """

    options: dict[str, Any]
    sources: dict[str, str]
    data: str
    variant: str
    device: str
    classes: int
    train_images: int
    val_images: int
    cost: Cost
    trained_parameters: int
    steps_per_epoch: int
    updates: int
    warmup_updates: int
    images_an_update: int
    rates: tuple[tuple[float, float], ...]
    memory: Memory
    batch_shape: tuple[int, ...]
    batch_seconds: float
    partial_decoding: bool
    notes: tuple[str, ...]
    teacher_problem: str | None


def dry_run(
    config: TrainConfig,
    data: DataChoice,
    sources: Mapping[str, str],
    loaded: LoadedModel | None = None,
    on_event: Callable[[TrainEvent], None] = lambda _: None,
) -> DryRun:
    """Build everything and read one batch.

    Args:
        sources: of the options, by `option_sources`.

    Raises:
        FastViTError: whatever would end the run before its first step.
    """
    if config.batch_size == AUTO_NUMBER:
        sources = {**sources, "batch_size": f"{sources['batch_size']}, found"}
    config = find_batch_size(config, data, loaded, on_event)
    # A plan is worth reading on a machine that cannot download the teacher.
    trainer = build_trainer(replace(config, teacher=None), data, loaded, on_event)
    network = trainer.train_step.network
    started = time.perf_counter()
    with worker_death_explained(trainer.train_loader.options.workers):
        batch = next(trainer.train_loader.epoch())
    seconds = time.perf_counter() - started
    return DryRun(
        options=recipe_of(config),
        sources={name: sources[name] for name in recipe_of(config)},
        data=data.name,
        variant=trainer.info.variant,
        device=describe_device(trainer.device),
        classes=trainer.info.num_classes,
        train_images=len(trainer.train_loader.images),
        val_images=len(trainer.val_loader.images),
        cost=network_cost(network, config.img_size),
        trained_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        steps_per_epoch=trainer.steps,
        updates=trainer.steps * config.epochs,
        warmup_updates=trainer.schedule.warmup_steps,
        images_an_update=config.effective_batch_size,
        rates=_rates(trainer),
        memory=estimated_memory(config, network),
        batch_shape=tuple(batch.images.shape),
        batch_seconds=seconds,
        partial_decoding=config.transforms == FAST and turbojpeg.available(),
        notes=trainer.notes,
        teacher_problem=_teacher_problem(config, trainer) if config.distils else None,
    )


def _teacher_problem(config: TrainConfig, trainer: Trainer) -> str | None:
    try:
        open_teacher(config, trainer.info, trainer.train_loader.images, trainer.device)
    except FastViTError as error:
        return str(error)
    return None


def _rates(trainer: Trainer) -> tuple[tuple[float, float], ...]:
    last = trainer.steps * trainer.config.epochs - 1
    points = sorted({round(last * number / (_SHOWN_RATES - 1)) for number in range(_SHOWN_RATES)})
    return tuple((point / trainer.steps, trainer.schedule.at(point)) for point in points)
