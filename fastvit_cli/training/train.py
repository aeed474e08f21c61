"""The training run: build, train epoch by epoch, close."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.data.workers import worker_death_explained
from fastvit_cli.devices import describe_device, is_out_of_memory, release_memory
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError
from fastvit_cli.training.batch_size import find_batch_size, with_half_the_batch
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.events import BatchHalved, EpochDone, RunStarted, TrainEvent
from fastvit_cli.training.remarks import RunFacts, remarks
from fastvit_cli.training.resume import check_weights
from fastvit_cli.training.run_folder import RunFolder, create_run_folder
from fastvit_cli.training.same_data import refuse_other_data
from fastvit_cli.training.stopping import Stop, Stopped, StopRequests, stop_requests
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.trainer import Trainer


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. Scores are those of `best_ckpt`; None when no epoch was finished, or its weights are lost.

    Attributes:
        epochs: epochs finished, those before a resume included.
        images_per_second: of the training steps, median over the epochs that had any since they were resumed.
        seconds: wall time of this call.
        stopped: why it ended before its last epoch; None when it did not.
        skipped_updates: updates left out because their loss was not finite.
        fused: what was trained, which then has a frozen backbone.
        remarks: what the scores say about the run, a sentence each.
    """

    run_dir: Path
    best_ckpt: Path | None
    last_ckpt: Path
    variant: str
    epochs: int
    best_epoch: int | None
    top1: float | None
    top5: float | None
    loss: float | None
    images_per_second: float | None
    seconds: float
    stopped: Stop | None
    skipped_updates: int
    fused: bool
    remarks: tuple[str, ...]
    history: tuple[EpochDone, ...]


def run_training(
    config: TrainConfig,
    data: DataChoice,
    loaded: LoadedModel | None = None,
    resume: RunFolder | None = None,
    on_event: Callable[[TrainEvent], None] = lambda _: None,
    world: World = ALONE,
) -> TrainResult:
    """Train on the data's `train` split, score `val` after each epoch, keep the best.

    Args:
        world: this process among those of the run, whose group is joined; the main one alone writes.
        loaded: weights to start from, for a resumed run those of its state; None draws random ones.
        resume: run folder to go on with, from its saved state, or from the start when there is none yet.

    Raises:
        FastViTError: wrong input, or other data than a resumed run had, before anything is written; or too many
            unreadable images, in the middle of it.
        WorkFailedError: the loss is not finite, a process that reads images was killed, or the device is out of
            memory.
    """
    started = time.perf_counter()
    with contextlib.ExitStack() as owned:
        if resume is not None:
            owned.enter_context(resume.owned())
        config = find_batch_size(config, data, loaded, on_event, world)
        folder = resume
        while True:
            trainer = build_trainer(config, data, loaded, on_event, world)
            if folder is None:
                folder = create_run_folder(config, _bytes_written(trainer), world)
                owned.enter_context(_removed_if_the_start_fails(folder))
                owned.enter_context(folder.owned())
            if folder.has_state:
                _go_on(trainer, folder)
            if folder is resume:
                folder.record_change(config, "resumed")
            on_event(_describe(trainer, folder))
            try:
                with (
                    stop_requests(config.time_limit, world.all_reduce_max) as requests,
                    worker_death_explained(trainer.train_loader.options.workers),
                ):
                    stopped = _run_epochs(trainer, folder, requests, requests.listening(on_event))
                return _result(trainer, folder, time.perf_counter() - started, stopped)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                config = with_half_the_batch(trainer, error)
            # Only here, where the error is gone, whose frames hold the network and the batch: they would be missing
            # for the next.
            device = trainer.device
            del trainer
            release_memory(device)
            folder.record_change(config, f"out of memory, again with {config.batch_size} images at once")
            on_event(BatchHalved(config.batch_size, config.accumulation))


def _go_on(trainer: Trainer, folder: RunFolder) -> None:
    """Take over the saved state.

    Raises:
        FastViTError: it is damaged or of other data, or the best weights are damaged; nothing is written.
    """
    state = folder.read_state()
    refuse_other_data(state["trained_on"], trainer.trained_on, folder.go_on_from_weights)
    trainer.restore(state)
    check_weights(trainer, folder)
    if state["info"] != trainer.info.to_json():  # options that may change have changed; the next resume compares them
        folder.write_state(trainer.state())


@contextlib.contextmanager
def _removed_if_the_start_fails(folder: RunFolder) -> Iterator[None]:
    """Remove a run of which nothing was saved when it fails, or it would stand in the way of the next try."""
    try:
        yield
    except FastViTError:
        folder.remove_unless_saved()
        raise


def _run_epochs(
    trainer: Trainer, folder: RunFolder, requests: StopRequests, on_event: Callable[[TrainEvent], None]
) -> Stop | None:
    """Train epoch by epoch, saving; says why it ended before the last one."""
    config = trainer.config
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        folder.save_mid_epoch(trainer.weights, trainer.info, len(trainer.history), trainer.state())
        saved = time.monotonic()

    def after_step() -> None:
        requests.check()
        # Several processes do not stop between two batches of a validation: if they are killed in it, nothing that
        # was trained may be lost.
        validates_next = trainer.world.size > 1 and trainer.step == trainer.steps
        if validates_next or time.monotonic() - saved >= 60 * config.save_every:
            save()

    try:
        while trainer.epoch < config.epochs:
            row = trainer.train_epoch(on_event, after_step)
            folder.save_epoch(trainer.weights, trainer.info, trainer.history, trainer.state())
            saved = time.monotonic()
            on_event(row)
            if config.patience is not None and trainer.epochs_since_better_top1() >= config.patience:
                return Stop.PATIENCE
    except Stopped as stop:
        save()
        folder.log(f"{stop.reason} in epoch {trainer.epoch + 1}, after step {trainer.step}")
        return stop.reason
    return None


def _bytes_written(trainer: Trainer) -> int:
    """Two states, the new one beside that which it replaces, and three files of weights."""
    weights = [p.numel() * p.element_size() for p in trainer.weights.parameters()]
    return (2 * 4 + 3) * sum(weights)


def _describe(trainer: Trainer, folder: RunFolder) -> RunStarted:
    return RunStarted(
        run_dir=folder.path,
        variant=trainer.info.variant,
        parameters=sum(parameter.numel() for parameter in trainer.train_step.network.parameters()),
        classes=trainer.info.num_classes,
        train_images=len(trainer.train_loader.images),
        val_images=len(trainer.val_loader.images),
        epochs=trainer.config.epochs,
        history=tuple(trainer.history),
        resumed_step=trainer.step,
        steps_per_epoch=trainer.steps,
        batch_size=trainer.config.batch_size,
        accumulation=trainer.config.accumulation,
        processes=trainer.world.size,
        img_size=trainer.config.img_size,
        workers=trainer.train_loader.options.workers,
        device=describe_device(trainer.device),
        notes=trainer.notes,
    )


def _result(trainer: Trainer, folder: RunFolder, seconds: float, stopped: Stop | None) -> TrainResult:
    history = tuple(trainer.history)
    speeds = [row.images_per_second for row in history if row.images_per_second]
    best = trainer.best
    facts = RunFacts(trainer.info.num_classes, len(trainer.val_loader.images), trainer.steps, stopped is not None)
    return TrainResult(
        run_dir=folder.path,
        best_ckpt=folder.best if best else None,
        last_ckpt=folder.last,
        variant=trainer.info.variant,
        epochs=len(history),
        best_epoch=best.epoch if best else None,
        top1=best.val_top1 if best else None,
        top5=best.val_top5 if best else None,
        loss=best.val_loss if best else None,
        images_per_second=median(speeds) if speeds else None,
        seconds=seconds,
        stopped=stopped,
        skipped_updates=trainer.train_step.skipped.total,
        fused=trainer.info.form != "unfused",
        remarks=remarks(history, facts),
        history=history,
    )
